"""Who is told what happens: one file for each way of telling."""
