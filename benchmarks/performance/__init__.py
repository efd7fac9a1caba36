"""What the performance optimizer achieves on real systems: `python -m benchmarks.performance`."""
