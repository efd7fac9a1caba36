"""Runs the agent's `tcp_tuning` on namespaces, as a person would: `prime-spark tune now`.

Each tuner has a home of its own, with a ledger of its own, and looks after the namespaces it is
given and nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LOOKS = 5
_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class Done:
    """What one run came to: findings and actions as the command tells them, and troubles."""

    findings: Sequence[Mapping[str, object]]
    actions: Sequence[Mapping[str, object]]
    left_out: Sequence[str]

    @property
    def changes(self) -> list[str]:
        """Each action in words: the change and its end."""
        return [_words(one) for one in self.actions]

    @property
    def kept(self) -> bool:
        """Whether a change was made that helped."""
        return any(one["state"] == "completed" for one in self.actions)


@dataclass(frozen=True, slots=True)
class Tuner:
    """The agent's capability on some namespaces.

    Attributes:
        home: its own directory.
        pairs: pairs of samples that judge a change.
        half_s: seconds of half a pair; new connections have to come within a third of it.
        look_s: from look to look.
    """

    home: Path
    namespaces: tuple[str, ...]
    pairs: int = 12
    half_s: float = 3.0
    look_s: float = 2.0

    def start(self) -> subprocess.Popen[str]:
        """Begin one run."""
        command = [sys.executable, "-m", "flows.cli", "tune", "now", "tcp_tuning", "--json"]
        command += ["--looks", str(_LOOKS), "--every", str(self.look_s)]
        return subprocess.Popen(
            command,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self) -> Done:
        """One run from its looks to its verdict."""
        return self.end(self.start())

    def end(self, process: subprocess.Popen[str]) -> Done:
        """What a run that was begun came to.

        Raises:
            RuntimeError: it gave no answer.
        """
        out, said = process.communicate(timeout=_TIMEOUT_S)
        try:
            answer = json.loads(out)
        except ValueError as error:
            raise RuntimeError(f"tune now gave no answer: {said.strip()[-500:]}") from error
        return Done(answer["findings"], answer["actions"], answer["left_out"])

    @property
    def pause_file(self) -> Path:
        """While it is there the agent changes nothing, and puts back what is under way."""
        return self.home / "run" / "PAUSE"

    def environment(self) -> dict[str, str]:
        """The environment of its processes."""
        names = ",".join(self.namespaces)
        own = {
            "PRIME_SPARK_HOME": str(self.home),
            "PRIME_SPARK_AGENT__TARGETS": "network",
            "PRIME_SPARK_AGENT__CAPABILITIES": "tcp_tuning",
            "PRIME_SPARK_AGENT__VERIFY_SAMPLES": str(self.pairs),
            "PRIME_SPARK_AGENT__VERIFY_SECONDS": str(2 * self.pairs * self.half_s),
            "PRIME_SPARK_AGENT__SETTLE_SECONDS": "0.5",
            "PRIME_SPARK_AGENT__COOLDOWN_SECONDS": "0.1",
            "PRIME_SPARK_AGENT__CHANGES_PER_HOUR": "1000",
            "PRIME_SPARK_AGENT__CHANGES_PER_DAY": "1000",
            "PRIME_SPARK_PERFORMANCE__TCP_TUNING__NAMESPACES": names,
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PRIME_SPARK_")}
        return inherited | own


def _words(action: Mapping[str, object]) -> str:
    proposal, effect = action["proposal"], action["effect"]
    assert isinstance(proposal, dict)
    gain = effect.get("gain") if isinstance(effect, dict) else None
    measured = "" if gain is None else f", gain {gain:+.0%}"
    kept = action["state"] == "completed"
    why = "" if kept else f" ({action['reason']})"
    return f"{proposal['description']}: {action['state']}{measured}{why}"
