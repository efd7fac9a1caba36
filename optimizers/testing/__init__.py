"""Conformance kits: what every target, capability and notifier has to keep, as plain functions.

Call them from any test framework. Each raises AssertionError with a sentence on the first promise
that is not kept, and leaves the world as it found it.
"""

from optimizers.testing.capabilities import check_capability, check_knob_action
from optimizers.testing.guards import FreeGuard, RefusingGuard
from optimizers.testing.notifiers import check_notifier
from optimizers.testing.targets import check_target

__all__ = [
    "FreeGuard",
    "RefusingGuard",
    "check_capability",
    "check_knob_action",
    "check_notifier",
    "check_target",
]
