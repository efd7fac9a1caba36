"""Calls the user's training and brings what it made into the registry.

An entry point is a Prefect deployment (`flow/deployment`), which registers its version itself, or
`module:function`, called with the model's name, an empty directory and the reason. The function
returns the path of an ONNX file, or a `Trained` with evaluation data and metrics besides, or the
number of a version it registered itself. Its code is the user's own and trusted like ours; what it
hands over is checked like any other model file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from config.errors import ConfigError, InputError

if TYPE_CHECKING:
    from registry.evaluation import EvaluationData
    from registry.mlflow_models import ModelRegistry


@dataclass(frozen=True, slots=True)
class Trained:
    """A model that training made; without evaluation data no benchmark can accept it."""

    onnx: Path
    evaluation: EvaluationData | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    description: str = ""


Trainer: TypeAlias = Callable[[str, Path, str], "Path | Trained | int"]


def is_deployment(entrypoint: str) -> bool:
    """True for `flow/deployment`, False for `module:function`.

    Raises:
        ConfigError: it is neither.
    """
    module, colon, function = entrypoint.partition(":")
    if colon and "/" not in entrypoint and module and function:
        return False
    if entrypoint.count("/") == 1 and ":" not in entrypoint and all(entrypoint.split("/")):
        return True
    raise ConfigError(
        f"models.retrain_entrypoint is {entrypoint!r}; write a Prefect deployment as "
        "flow/deployment or a function as module:function"
    )


def find_trainer(entrypoint: str) -> Trainer:
    """Import the function that `module:function` names.

    Raises:
        ConfigError: there is no such module or function.
    """
    module_name, _, function_name = entrypoint.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"models.retrain_entrypoint {entrypoint!r} cannot be imported ({error}); the worker "
            "needs the module on its path"
        ) from error
    if not callable(found):
        raise ConfigError(f"models.retrain_entrypoint {entrypoint!r} is no function")
    trainer: Trainer = found
    return trainer


def train(trainer: Trainer, registry: ModelRegistry, model: str, folder: Path, reason: str) -> int:
    """Run a training function and register what it returns; return the new version's number.

    Raises:
        InputError: it returned something else than agreed, or a file that is refused.
        RegistryUnavailable: the registry does not answer.
    """
    made = trainer(model, folder, reason)
    if isinstance(made, bool) or not isinstance(made, int | str | Path | Trained):
        raise InputError(
            f"the training function for {model} returned a {type(made).__name__}; it has to "
            "return a path, a Trained or a version number"
        )
    if isinstance(made, int):
        return made
    trained = made if isinstance(made, Trained) else Trained(Path(made))
    version = registry.register(
        model,
        trained.onnx,
        evaluation=trained.evaluation,
        metrics=trained.metrics,
        description=trained.description or f"retrained: {reason}",
        tags={"retrained": "true"},
    )
    return version.version
