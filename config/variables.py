"""Names of the environment variables that Prime Spark reads; importing them costs nothing."""

from __future__ import annotations

# `PRIME_SPARK_<KEY>`, with `__` between levels, sets one value of the settings.
PREFIX = "PRIME_SPARK_"
# Names the user's settings file.
CONFIG_VARIABLE = "PRIME_SPARK_CONFIG"
# Set by `prime-spark up` on all it starts, so that it can be found again; names no setting.
UP_VARIABLE = "PRIME_SPARK_UP_ID"
