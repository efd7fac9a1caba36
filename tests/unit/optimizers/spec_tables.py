"""The specification's tables of optimisations: expected improvement and risk of each row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row; risks of the second table are those of the specification's risk bands."""

    name: str
    improvement: float
    risk: float
    reversible: bool = True


PERFORMANCE = (
    Row("CPU Scale Out", 0.15, 0.3),
    Row("Memory Cleanup", 0.10, 0.2),
    Row("Batch Inference", 0.20, 0.4),
    Row("Cache Resize", 0.15, 0.2),
    Row("TCP Tuning", 0.10, 0.5),
    Row("Resource Reallocation", 0.12, 0.4),
)
PIPELINE = (
    # Partitions can be added and never taken away.
    Row("Kafka Lag Reduction", 0.20, 0.3, reversible=False),
    Row("Query Optimization", 0.30, 0.3),
    Row("Batch Size Tuning", 0.15, 0.3),
    Row("Storage Cleanup", 0.25, 0.3),
)
