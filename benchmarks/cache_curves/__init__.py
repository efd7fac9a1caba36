"""What hit rate a cache of each size has, from the keys that were asked for."""
