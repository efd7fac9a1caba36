"""How far samples of a metric moved that stand side by side: with and without the change, in pairs.

The order within each pair is drawn at random. So, if the change does nothing, each difference is as
likely to be positive as negative whatever the noise around it does, and a test of signs is exact
(Fisher, "The Design of Experiments", 1935, section 21). Strict alternation errs on the safe side
under positive autocorrelation, but not under load that rises and falls in step with it.

The test sums ranks as Wilcoxon's does (Biometrics Bulletin 1 (1945) 80–83), but the larger half of
the differences count alike: each as much as the one in the middle. In bursts of other load two of
twenty differences may be arbitrarily large; with plain ranks they alone outweigh the rest. Scores
of this kind: Policello and Hettmansperger, JASA 71 (1976) 727–733.

Pure functions.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.effect_windows import FloatArray, Shift

_EXACT_PAIRS = 100


def pair_orders(pairs: int, rng: random.Random) -> tuple[bool, ...]:
    """Draw, for each pair, whether the sample with the change comes first: a fair coin each."""
    return tuple(rng.random() < 0.5 for _ in range(pairs))


def least_pairs(alpha: float) -> int:
    """The fewest pairs that can decide at a two-sided error rate: 2 / 2^n must not exceed it."""
    return math.ceil(math.log2(2 / alpha))


def paired_shift(before: FloatArray, after: FloatArray, alpha: float) -> Shift:
    """The shift within pairs, with the interval of the shifts that the test does not refute.

    The null distribution is exact given the ranks, ties and zeros included (Pratt, JASA 54 (1959)
    655–667); normal above 100 pairs. Without a decision the interval holds 0, with one it does not
    reach beyond it.

    Raises:
        ValueError: the sides differ in length or are empty.
    """
    if before.size != after.size or before.size == 0:
        raise ValueError(f"{before.size} and {after.size} samples do not make pairs")
    differences = after - before
    p_up, p_down = _p_values(differences)
    shifts = _Shifts(differences)
    low = shifts.first(lambda up, down: _p_value(up, down) > alpha / 2)
    high = shifts.first(lambda up, down: _p_value(down, up) <= alpha / 2)
    # With ties the test at 0 itself may differ from the one beside it; it decides.
    low = max(low, 0.0) if p_up <= alpha / 2 else min(low, 0.0)
    high = min(high, 0.0) if p_down <= alpha / 2 else max(high, 0.0)
    return Shift(min(max(shifts.centre(), low), high), low, high, p_up, p_down)


Scores = tuple[int, ...]


class _Shifts:
    """The shifts that the differences may have, in order, and the scores that each leaves.

    The scores of what lies above a shift fall as it rises, and only at averages of two differences
    (Walsh, Annals of Mathematical Statistics 20 (1949) 64–81). So a search by halves will do.
    """

    def __init__(self, differences: FloatArray) -> None:
        rows, columns = np.triu_indices(differences.size)
        averages = np.unique((differences[rows] + differences[columns]) / 2)
        self._differences = differences
        self._seen: dict[int, tuple[Scores, Scores]] = {}
        self._averages: FloatArray = np.concatenate(([-math.inf], averages, [math.inf]))

    def first(self, holds: Callable[[Scores, Scores], bool]) -> float:
        """Where that begins to hold of the scores above and below the shift, and stays so."""
        gaps = range(self._averages.size - 1)
        return float(self._averages[bisect_left(gaps, 1, key=lambda gap: holds(*self._at(gap)))])

    def centre(self) -> float:
        """The shift that leaves as much above it as below."""
        low = self.first(lambda up, down: sum(up) <= sum(down))
        high = self.first(lambda up, down: sum(up) < sum(down))
        return low / 2 + high / 2

    def _at(self, gap: int) -> tuple[Scores, Scores]:
        if gap not in self._seen:
            self._seen[gap] = self._scores_at(gap)
        return self._seen[gap]

    def _scores_at(self, gap: int) -> tuple[Scores, Scores]:
        low, high = float(self._averages[gap]), float(self._averages[gap + 1])
        if math.isinf(low):
            return _scores(self._differences - high + 1.0)
        if math.isinf(high):
            return _scores(self._differences - low - 1.0)
        return _scores(self._differences - (low / 2 + high / 2))


def _scores(differences: FloatArray) -> tuple[Scores, Scores]:
    """Twice the scores of the differences above 0 and of those below."""
    scores = np.minimum(_doubled_ranks(np.abs(differences)), differences.size)
    return tuple(scores[differences > 0].tolist()), tuple(scores[differences < 0].tolist())


def _doubled_ranks(sizes: FloatArray) -> NDArray[np.int64]:
    order = np.argsort(sizes)
    ordered = sizes[order]
    if (ordered[1:] == ordered[:-1]).any():
        return np.rint(2 * rankdata(sizes)).astype(np.int64)
    ranks = np.empty(sizes.size, dtype=np.int64)  # several times as fast, without ties
    ranks[order] = np.arange(2, 2 * sizes.size + 2, 2)
    return ranks


def _p_values(differences: FloatArray) -> tuple[float, float]:
    up, down = _scores(differences)
    return _p_value(up, down), _p_value(down, up)


def _p_value(seen: Scores, others: Scores) -> float:
    """The chance that fair signs give at least the sum that is seen."""
    scores = seen + others
    if len(scores) > _EXACT_PAIRS:
        z = (sum(seen) - sum(others)) / math.sqrt(sum(score * score for score in scores))
        return 0.5 * math.erfc(z / math.sqrt(2))
    return float(_upper_chances(tuple(sorted(scores)))[sum(seen)])


@lru_cache(maxsize=256)
def _upper_chances(scores: Scores) -> FloatArray:
    """Chance to reach each sum when every score is taken or left by a fair coin."""
    chances = np.zeros(sum(scores) + 1)
    chances[0] = 1.0
    for score in scores:
        taken = np.zeros_like(chances)
        taken[score:] = chances[: chances.size - score]
        chances = (chances + taken) / 2
    upper: FloatArray = np.cumsum(chances[::-1])[::-1]
    return upper
