"""How proposals name a metric: `name`, `name{model="digits"}`, `name@target`, or all of it.

Labels pick one series of a target that has several, as in PromQL; without them the one of the whole
target is meant.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Self

from config.errors import InputError

Labels = tuple[tuple[str, str], ...]

_LABEL = r'\w+="(?:[^"\\]|\\.)*"'
_FORM = re.compile(rf"([^{{}}@]+)(?:\{{((?:{_LABEL},)*{_LABEL})\}})?(?:@(.+))?", re.DOTALL)
_PAIR = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*")', re.DOTALL)


@dataclass(frozen=True, slots=True)
class MetricName:
    """A metric, the labels that its series has to have, and its target; "" is the action's own."""

    metric: str
    labels: Labels = ()
    target: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name.

        Raises:
            InputError: it has another form.
        """
        found = _FORM.fullmatch(text)
        metric, labels, target = found.groups() if found else ("", "", "")
        try:
            pairs = tuple((name, json.loads(value)) for name, value in _PAIR.findall(labels or ""))
        except json.JSONDecodeError:
            metric = ""
        if not metric:
            raise InputError(
                f'{text!r} names no metric; write name, or name{{label="value"}}, and @target '
                "behind it where it is another target's"
            )
        return cls(metric, pairs, target or "")

    def __str__(self) -> str:
        labels = ",".join(
            f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in self.labels
        )
        of = f"{{{labels}}}" if labels else ""
        return f"{self.metric}{of}@{self.target}" if self.target else f"{self.metric}{of}"

    @property
    def series(self) -> str:
        """The name without its target."""
        return str(MetricName(self.metric, self.labels))
