"""``python -m registry.mlflow_fetch URI MODEL VERSION PATH FOLDER``: one file by mlflow's client.

Started by `registry.reader` as a child process, so that mlflow's memory goes when it is done.
Prints the path of the file; nothing of it is loaded or run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts


def main(arguments: list[str]) -> int:
    """Fetch the file and print where it is."""
    tracking_uri, model, version, path, folder = arguments
    source = MlflowClient(tracking_uri).get_model_version_download_uri(model, version)
    found = download_artifacts(
        artifact_uri=f"{source.rstrip('/')}/{path}", dst_path=folder, tracking_uri=tracking_uri
    )
    sys.stdout.write(f"{Path(found).resolve()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
