"""Prime Spark with one guard less of those that keep switching to and fro safe."""

from __future__ import annotations

from tests.crash.agent_mutants import DESK, END, STEPS, Mutant

_EFFECTS, _SAMPLES, _SWITCHING = (
    "optimizers.knob_effects",
    "optimizers.knob_samples",
    "optimizers.switching",
)

PAIR_MUTANTS = (
    Mutant(
        "no note before a switch",
        END,
        "    moved = desk.actions.move(action, ActionState.VERIFYING, reason, progress=noted)\n",
        "    moved = replace(action, progress=noted)\n",
        ("pairs: improved",),
    ),
    Mutant(
        "a switch is noted as made before it is",
        END,
        "standing = standing.switching(switch.to)",
        "standing = standing.switching(switch.to).switched()",
        ("pairs: improved",),
    ),
    Mutant(
        "a switch that was made already is not known again",
        STEPS,
        "_made(hands, to) if seen.sight is not to else",
        "_made(hands, to) if True else",
        ("pairs: answers",),
    ),
    Mutant(
        "a switch is taken for granted",
        STEPS,
        "    if looked.value is None or looked.value.sight is to:\n",
        "    if True:\n",
        ("pairs: no true",),
    ),
    Mutant(
        "a switch writes over whatever is there",
        _EFFECTS,
        "        tools.targets[action.proposal.target].write(change, guard)",
        "        target = tools.targets[action.proposal.target]\n"
        "        now = target.read(change.knob)\n"
        "        target.write(Change(change.knob, now, change.after), guard)",
        ("pairs: edited before",),
    ),
    Mutant(
        "both sides are taken for ours at any time",
        _SWITCHING,
        "return frozenset({self.stands}) if self.to is None else _SIDES",
        "return _SIDES",
        ("pairs: turned after",),
    ),
    Mutant(
        "a hand that switches on what was switched back is not seen",
        STEPS,
        "    put_back = Sight.AFTER not in standing_of(action).sights\n",
        "    put_back = False\n",
        ("pairs: turned last",),
    ),
    Mutant(
        "a switch asks for no permission",
        DESK,
        'self.desk.paused) as guard:\n                self.desk.checkpoint("switching")',
        'lambda: False) as guard:\n                self.desk.checkpoint("switching")',
        ("pairs: paused at",),
    ),
    Mutant(
        "what stays is left switched back",
        END,
        "and standing_of(action).stands is not Sight.AFTER:",
        "and False:",
        ("pairs: improved",),
    ),
    Mutant(
        "what is left is left switched back",
        END,
        "    return _leave(desk, action, ActionState.FAILED, reason)",
        "    return finish(desk, action, ActionState.FAILED, reason)",
        ("pairs: left",),
    ),
    Mutant(
        "samples are taken while it settles",
        _SAMPLES,
        "_Interval(half, now + self._settle_s)",
        "_Interval(half, now)",
        ("pairs: improved",),
    ),
    Mutant(
        "no look is thrown away",
        _SAMPLES,
        "        if interval.begun:\n",
        "        if True:\n",
        ("pairs: improved",),
    ),
    Mutant(
        "samples are forgotten at a switch",
        END,
        "    noted = {**action.progress, **switch.noted,",
        '    noted = {"before": {}, **switch.noted,',
        ("pairs: improved",),
    ),
    Mutant(
        "it is measured at the wrong side",
        _SAMPLES,
        "if half is None or half.side is not stands:",
        "if half is None:",
        ("pairs: improved",),
    ),
)
