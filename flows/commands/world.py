"""What a command works with: settings, and the servers that are set or that `up` has started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from config.clock import SystemClock

if TYPE_CHECKING:
    from config.settings import Settings
    from flows.context import Context


@dataclass(frozen=True, slots=True)
class CommandWorld:
    """The settings file named on the command line, and the environment."""

    config_file: Path | None
    environ: Mapping[str, str]

    def settings(self) -> Settings:
        """Read the settings as the user has set them.

        Raises:
            ConfigError: a setting is wrong.
        """
        from config.loader import load_settings

        return load_settings(self.config_file, self.environ)

    def context(self) -> Context:
        """Return the composition root, with the servers of a running `prime-spark up` filled in.

        Raises:
            ConfigError: a setting is wrong.
        """
        from flows.context import Context

        return Context(located(self.settings()), self.clock)

    @property
    def clock(self) -> SystemClock:
        """The clock of this machine."""
        return SystemClock()


def world_of(config_file: Path | None) -> CommandWorld:
    """Return the world of this process."""
    return CommandWorld(config_file, os.environ)


def located(settings: Settings) -> Settings:
    """Fill in the servers of the run on this home, where the user has set none."""
    from flows.up.lock import read_running

    running = read_running(settings.home_dir)
    if running is None or running.urls is None:
        return settings
    urls = running.urls
    mlflow, prefect, serving = settings.mlflow, settings.prefect, settings.serving
    tracking_uri = mlflow.tracking_uri or urls.mlflow
    api_url = prefect.api_url or urls.prefect_api
    port = serving.port or int(urls.predictor.rpartition(":")[2])
    return settings.model_copy(
        update={
            "mlflow": mlflow.model_copy(update={"tracking_uri": tracking_uri}),
            "prefect": prefect.model_copy(update={"api_url": api_url}),
            "serving": serving.model_copy(update={"port": port}),
        }
    )
