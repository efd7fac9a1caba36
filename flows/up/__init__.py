"""`prime-spark up`: starts every server, shows what happens, and leaves nothing behind."""
