from __future__ import annotations

import re
from datetime import UTC, datetime

from config.clock import ManualClock
from config.ids import SeededIds, SystemIds

_FORM = re.compile(r"trial-[0-9a-z]{19}")


def test_ids_never_repeat_and_fit_into_urls_files_and_sql() -> None:
    ids = SystemIds(ManualClock(datetime(2030, 1, 1, tzinfo=UTC)))
    made = [ids.new("trial") for _ in range(2000)]
    assert len(set(made)) == len(made)
    assert all(_FORM.fullmatch(one) for one in made)


def test_ids_sort_by_the_time_they_were_made() -> None:
    clock = ManualClock(datetime(2030, 1, 1, tzinfo=UTC))
    ids = SystemIds(clock)
    made = []
    for _ in range(200):
        made.append(ids.new("trial"))
        clock.advance(0.002)
    assert made == sorted(made)


def test_the_same_seed_gives_the_same_ids_and_another_one_others() -> None:
    first, again, other = SeededIds(7), SeededIds(7), SeededIds(8)
    series = [first.new("trial") for _ in range(50)]
    assert series == [again.new("trial") for _ in range(50)]
    assert not set(series) & {other.new("trial") for _ in range(50)}
    assert len(set(series)) == 50
    assert series == sorted(series)
    assert all(_FORM.fullmatch(one) for one in series)
