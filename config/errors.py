"""Every error Prime Spark raises on purpose, as one tree.

    PrimeSparkError
    ├── ConfigError            a settings file or variable is wrong; nothing starts
    ├── InputError             a person or client sent something that cannot be used
    │   ├── ModelRefused       a model file is not a safe, well-formed ONNX file
    │   ├── UnknownModel       no such registered model
    │   └── UnknownVersion     no such version, or alias, of a model
    ├── ConflictError          the world is not what the caller expected; nothing was changed
    │   └── StaleToken         somebody else holds the lease now
    ├── UnavailableError       a server does not answer; trying again later may help
    │   ├── RegistryUnavailable
    │   └── LedgerUnavailable
    ├── DeadlineExceeded       a step took longer than it was allowed to
    └── HandedOver             the outcome is in doubt; a person has to look

A message is one sentence that says what is wrong, where, and what to do.
"""

from __future__ import annotations


class PrimeSparkError(Exception):
    """Anything Prime Spark raises on purpose; its text is fit for a user's eyes."""


class ConfigError(PrimeSparkError):
    """A setting is missing, unknown or out of range; the text names file and line."""


class InputError(PrimeSparkError):
    """Input from a person or client that cannot be used as it is."""


class ModelRefused(InputError):
    """A model file was refused before it was loaded."""


class UnknownModel(InputError):
    """The registry has no model of that name."""


class UnknownVersion(InputError):
    """The model has no such version or alias."""


class ConflictError(PrimeSparkError):
    """The value found is not the value expected; nothing was changed."""


class StaleToken(ConflictError):
    """The caller's lease has passed to another holder; nothing was changed."""


class UnavailableError(PrimeSparkError):
    """A server did not answer in time or answered with an error of its own.

    Attributes:
        retry_after_s: seconds after which another attempt makes sense.
    """

    def __init__(self, message: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RegistryUnavailable(UnavailableError):
    """The MLflow server cannot be reached or failed."""


class LedgerUnavailable(UnavailableError):
    """The ledger database cannot be reached, is locked for too long, or failed."""


class DeadlineExceeded(PrimeSparkError):
    """A step was given up because its time was over; its outcome is read, not assumed."""


class HandedOver(PrimeSparkError):
    """The state found fits neither before nor after; a person has to decide."""
