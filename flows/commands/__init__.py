"""The commands of `prime-spark`, a file for each group; heavy imports stand inside them."""
