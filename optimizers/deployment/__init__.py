"""Deployment targets besides the local predictor: how they stand, and bringing models there."""
