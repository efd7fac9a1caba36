"""Makes the settings: `agent.yaml`, then the user's file, then environment variables.

Environment variables are named `PRIME_SPARK_<KEY>` with `__` between levels
(`PRIME_SPARK_SERVING__PORT=8080`). `PRIME_SPARK_CONFIG` names the user's file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from config.errors import ConfigError
from config.settings import Settings
from config.variables import CONFIG_VARIABLE, PREFIX, UP_VARIABLE
from config.yaml_file import KeyPath, YamlFile, YamlValue, read_yaml


def load_settings(
    user_file: Path | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read and check all settings.

    Args:
        user_file: the user's own file; by default the one `PRIME_SPARK_CONFIG` names, if any.
        environ: environment variables; by default this process's.

    Raises:
        ConfigError: one sentence with the place (file and line, or variable) and what is allowed.
    """
    environ = os.environ if environ is None else environ
    files = [default_file()]
    if user_file is None and environ.get(CONFIG_VARIABLE):
        user_file = Path(environ[CONFIG_VARIABLE])
    if user_file is not None:
        files.append(read_yaml(user_file.expanduser()))
    _check_variable_names(environ)
    values: dict[str, YamlValue] = {}
    for file in files:
        values = _merged(values, file.values)
    from_environment = _environment_values(environ)
    values = _merged(values, from_environment)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise _explained(error.errors()[0], files, from_environment) from None


def default_file() -> YamlFile:
    """Read the defaults that come with Prime Spark."""
    with resources.as_file(resources.files("config") / "agent.yaml") as path:
        return read_yaml(path)


def _merged(below: dict[str, YamlValue], above: Mapping[str, YamlValue]) -> dict[str, YamlValue]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged


def _environment_values(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what the environment sets, nested as the settings are."""

    class _Variables(EnvSettingsSource):
        def _load_env_vars(self) -> Mapping[str, str | None]:
            return {name.lower(): value for name, value in environ.items()}

    try:
        source = _Variables(
            _SettingsShape, env_prefix=PREFIX, env_nested_delimiter="__", case_sensitive=False
        )
        return dict(source())
    except SettingsError as error:
        raise ConfigError(
            f"environment: {error}; a value with several parts is written as JSON"
        ) from error


class _SettingsShape(BaseSettings, Settings):
    """The settings' fields, as the library that reads the environment wants them."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)


def _check_variable_names(environ: Mapping[str, str]) -> None:
    known = set(Settings.model_fields)
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in {CONFIG_VARIABLE, UP_VARIABLE}:
            continue
        top = name.removeprefix(PREFIX).split("__")[0].lower()
        if top not in known:
            raise ConfigError(
                f"environment variable {name}: no such setting; after {PREFIX} comes one of "
                f"{', '.join(sorted(key.upper() for key in known))}"
            )


def _explained(
    detail: ErrorDetails, files: list[YamlFile], from_environment: Mapping[str, Any]
) -> ConfigError:
    at: KeyPath = tuple(detail["loc"])
    key = ".".join(str(part) for part in at)
    return ConfigError(f"{_place(at, files, from_environment)}: `{key}` {_complaint(detail, at)}")


def _place(at: KeyPath, files: list[YamlFile], from_environment: Mapping[str, Any]) -> str:
    if _contains(from_environment, at):
        return f"environment variable {PREFIX}{'__'.join(str(part).upper() for part in at)}"
    for file in reversed(files):
        for length in range(len(at), 0, -1):
            line = file.lines.get(at[:length])
            if line is not None:
                return f"{file.path}, line {line}"
    return "settings"


def _contains(values: object, at: KeyPath) -> bool:
    for part in at:
        if not isinstance(values, Mapping) or part not in values:
            return False
        values = values[part]
    return True


def _complaint(detail: ErrorDetails, at: KeyPath) -> str:
    if detail["type"] == "extra_forbidden":
        return f"is not a setting; allowed here: {', '.join(_siblings(at))}"
    if detail["type"] == "missing":
        return "is missing; it has no default"
    message = detail["msg"]
    found = repr(detail["input"])
    shown = found if len(found) <= 60 else found[:57] + "..."
    return f"is {shown}; {message[0].lower()}{message[1:]}"


def _siblings(at: KeyPath) -> Iterator[str]:
    """Yield the keys allowed beside the one at `at`."""
    model: type[BaseModel] = Settings
    for part in at[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        inner = getattr(annotation, "__args__", (annotation,))[0]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    yield from model.model_fields
