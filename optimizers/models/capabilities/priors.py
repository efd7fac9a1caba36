"""What is believed of the model actions before any of them was verified. Pure.

The specification gives a table for performance actions only, and three bands of risk: up to 0.3
safe, 0.3 to 0.6 medium (it names model deployment), above that risky (it names retraining). These
values follow the bands, and what is at stake:

| type | gain | risk | why |
|---|---|---|---|
| model_benchmark | 0.10 | 0.1 | measures beside the predictor; serving does not change |
| ab_test | 0.10 | 0.3 | a share of the traffic, under guardrails; its default least gain is 10 % |
| model_promote | 0.10 | 0.4 | a deployment: all traffic; a trial's own estimate replaces the gain |
| model_deploy | 0.10 | 0.4 | a deployment to another place, which can be taken back |
| model_update | 0.10 | 0.1 | registers a version; nothing serves it before benchmark and trial |
| model_retrain | 0.15 | 0.6 | the band of the specification: hours of work, and somebody's code |
| model_rollback | 0.20 | 0.3 | back to a version that has served before |
| model_retire | 0.10 | 0.2 | a mark on a version nobody serves, which can be taken away |

With the success rate assumed (0.8) each reaches the least expected value of 5 %, and has a score
above 0 with an exposure of 0.1. A gain is relative to the goal metric of the proposal.
"""

from __future__ import annotations

from optimizers.capability import Prior

PRIORS = {
    "model_benchmark": Prior(improvement=0.10, risk=0.1),
    "ab_test": Prior(improvement=0.10, risk=0.3),
    "model_promote": Prior(improvement=0.10, risk=0.4),
    "model_deploy": Prior(improvement=0.10, risk=0.4),
    "model_update": Prior(improvement=0.10, risk=0.1),
    "model_retrain": Prior(improvement=0.15, risk=0.6),
    "model_rollback": Prior(improvement=0.20, risk=0.3),
    "model_retire": Prior(improvement=0.10, risk=0.2),
}
