"""Tests of significance: pure functions from counts to verdict-ready numbers, no input or output.

Each function names its source. Two kinds of error bound appear, and each docstring says which:
*exact* (holds for every sample size under the stated model) or *large-sample* (rests on the
normal approximation; measured in `python -m benchmarks.significance`).
"""
