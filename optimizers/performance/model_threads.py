"""Which model has ONNX Runtime threads to spare: one with hardly any of the traffic. Pure.

Threads of a model without any requests sleep. Those of one with a few, each time, take all cores
from the others, and go on spinning for a while.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from optimizers.performance.giving import Move
from optimizers.targets.serving import ServingFacts
from optimizers.view import View
from registry.agent_records import Change

_SERVING = "serving"
_FEW = 0.1
_LEAN: Mapping[str, JsonValue] = {"intra_op_threads": 1, "allow_spinning": 0}


def lean_model(view: View, threads: int) -> str | None:
    """The model with the least traffic of those that have threads to spare; None: there is none.

    Args:
        view: what is known.
        threads: threads of a model whose knob was never written.
    """
    facts = view.facts.get(_SERVING)
    if not isinstance(facts, ServingFacts) or len(facts.models) < 2:
        return None
    rates = _rates(view)
    total = sum(rates.values())
    spare = [
        name
        for name, model in sorted(facts.models.items())
        if 0 < rates.get(name, 0.0) <= _FEW * total
        and any(arm.knobs.get("intra_op_threads", threads) > 1 for arm in model.arms)
    ]
    return min(spare, key=lambda name: rates[name], default=None)


def thread_move(model: str, written: JsonValue) -> Move:
    """One thread for a model, whatever else its batching knob says."""
    others = dict(written) if isinstance(written, Mapping) else {}
    change = Change(f"serving/{model}.batching", written, {**others, **_LEAN})
    return Move(change, f"Let {model} run on one thread: it has little of the traffic")


def _rates(view: View) -> dict[str, float]:
    """The newest rate of each model, over its versions, requests a second."""
    newest: dict[tuple[tuple[str, str], ...], float] = {
        one.labels: one.value
        for one in view.history.get((_SERVING, "throughput_rps"), ())
        if one.labels
    }
    rates: dict[str, float] = {}
    for labels, rate in newest.items():
        model = dict(labels).get("model", "")
        rates[model] = rates.get(model, 0.0) + rate
    return rates
