"""The performance optimizer: six capabilities, a file each, that turn knobs of real systems."""
