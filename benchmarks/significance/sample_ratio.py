"""Is the traffic split as it was ordered? A test that may be looked at after every request.

A split that is off means that requests got lost or were counted twice in one arm, and then no
comparison of the arms can be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.significance.e_process import Stage

CONCENTRATION = 100.0
"""Weight of the prior, in requests: finds a silent arm early and small shifts late."""


def log_evidence(stages: Sequence[Stage], concentration: float = CONCENTRATION) -> float:
    """Natural logarithm of the e-value against the ordered split, after all stages.

    Dirichlet-multinomial Bayes factor of Lindon & Malek, "Anytime-valid inference for multinomial
    count data", NeurIPS 2022, section 3: under the ordered split it ever reaches 1 / alpha with
    probability at most alpha (exact). Stages of a ramp multiply. Here a stage's events are its
    requests. Assumed: requests are assigned independently; few heavy users with sticky keys
    break that.
    """
    # Without SciPy: the resident agent asks this, and has no room for it.
    return sum(_log_evidence(stage, concentration) for stage in stages)


def _log_evidence(stage: Stage, concentration: float) -> float:
    y, x, share = stage.champion, stage.challenger, stage.share
    b, a = concentration * (1 - share), concentration * share
    mixed = math.lgamma(y + b) + math.lgamma(x + a) - math.lgamma(x + y + concentration)
    prior = math.lgamma(b) + math.lgamma(a) - math.lgamma(concentration)
    return mixed - prior - y * math.log1p(-share) - x * math.log(share)


def log_evidence_of(
    champion: ArrayLike,
    challenger: ArrayLike,
    share: float,
    concentration: float = CONCENTRATION,
) -> NDArray[np.float64]:
    """:func:`log_evidence` of one stage, element by element on arrays of request counts."""
    from scipy.special import gammaln  # noqa: PLC0415 - only simulations ask this

    y, x = np.asarray(champion, float), np.asarray(challenger, float)
    b, a = concentration * (1 - share), concentration * share
    mixed = gammaln(y + b) + gammaln(x + a) - gammaln(x + y + concentration)
    prior = gammaln(b) + gammaln(a) - gammaln(concentration)
    return np.asarray(mixed - prior - y * np.log1p(-share) - x * np.log(share))
