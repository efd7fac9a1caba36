"""The story that shows what Prime Spark does: real models, real traffic, everything measured."""
