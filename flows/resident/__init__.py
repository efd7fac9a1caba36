"""The resident agent's parts: loops, leadership, log, and what each tick does.

Nothing here imports Prefect, MLflow, SciPy or ONNX Runtime: they would cost the agent more memory
than all of its own work.
"""
