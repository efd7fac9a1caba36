"""The model life-cycle: benchmark, trial, promotion, watch, retraining; without its clockwork."""
