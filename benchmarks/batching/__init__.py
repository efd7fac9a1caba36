"""How requests are best run together: run costs measured, traffic replayed, settings searched."""
