"""The traffic's own counts: what the story's figures rest on."""

from __future__ import annotations

from pathlib import Path

from flows.demo.counts import (
    ChampionRun,
    TrafficCounter,
    TrafficStatus,
    VersionCounts,
    read_status,
    write_status,
)


def answer(
    counter: TrafficCounter, version: int, at: float, *, sent_at: float | None = None
) -> None:
    sent = at - 0.01 if sent_at is None else sent_at
    counter.answered(version, "champion", right=True, sent_at=sent, at=at)


def test_accuracy_counts_answers_only() -> None:
    counter = TrafficCounter()
    counter.answered(1, "champion", right=True, sent_at=0.0, at=0.002)
    counter.answered(1, "champion", right=False, sent_at=0.0, at=0.004)
    counter.failed(1, "HTTP 500")
    counts = counter.status(1.0).version(1)
    assert counts == VersionCounts(answers=2, right=1, failed=1)
    assert counts.accuracy == 0.5
    assert counts.requests == 3


def test_a_version_without_answers_has_no_accuracy() -> None:
    assert VersionCounts(failed=3).accuracy is None


def test_failures_name_version_and_kind() -> None:
    counter = TrafficCounter()
    counter.failed(5, "HTTP 500")
    counter.failed(0, "TimeoutError")
    status = counter.status(1.0)
    assert status.failures == {"v5: HTTP 500": 1, "TimeoutError": 1}
    assert status.failed == 2


def test_what_came_since_an_earlier_moment() -> None:
    counter = TrafficCounter()
    answer(counter, 1, 1.0)
    counter.failed(1, "HTTP 503")
    before = counter.status(1.0)
    counter.sent = 5
    answer(counter, 2, 2.0)
    after = counter.status(2.0).since(before)
    assert after.sent == 5
    assert after.versions == {2: VersionCounts(answers=1, right=1)}
    assert after.failed == 0


def test_a_change_of_champion_starts_a_run() -> None:
    counter = TrafficCounter()
    for at, version in ((1.0, 1), (2.0, 1), (3.0, 2), (4.0, 2)):
        answer(counter, version, at)
    assert counter.status(5.0).champion_runs == (
        ChampionRun(version=1, first_at=1.0, last_at=2.0),
        ChampionRun(version=2, first_at=3.0, last_at=4.0),
    )


def test_an_answer_under_way_during_the_change_belongs_to_the_old_run() -> None:
    counter = TrafficCounter()
    answer(counter, 1, 1.0)
    answer(counter, 2, 2.0)
    answer(counter, 1, 2.1, sent_at=1.9)
    answer(counter, 2, 2.2)
    assert counter.status(3.0).champion_runs == (
        ChampionRun(version=1, first_at=1.0, last_at=2.1),
        ChampionRun(version=2, first_at=2.0, last_at=2.2),
    )


def test_a_champion_that_comes_back_starts_another_run() -> None:
    counter = TrafficCounter()
    for at, version in ((1.0, 1), (2.0, 2), (3.0, 1)):
        answer(counter, version, at)
    assert [run.version for run in counter.status(4.0).champion_runs] == [1, 2, 1]


def test_challengers_do_not_count_as_champions() -> None:
    counter = TrafficCounter()
    counter.answered(2, "challenger", right=True, sent_at=0.0, at=0.1)
    assert counter.status(1.0).champion_runs == ()


def test_latency_is_that_of_the_time_since_the_last_status() -> None:
    counter = TrafficCounter()
    answer(counter, 1, 1.0, sent_at=0.0)
    assert counter.status(1.0).p95_ms == 1000.0
    assert counter.status(2.0).p95_ms is None


def test_status_survives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    assert read_status(path) is None
    counter = TrafficCounter()
    answer(counter, 1, 1.0)
    counter.feedback.update(sent=3, accepted=2, duplicates=1)
    status = counter.status(2.0)
    write_status(path, status)
    assert read_status(path) == status


def test_a_broken_file_is_no_status(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_text('{"sent": 1')
    assert read_status(path) is None
    assert TrafficStatus().answered == 0
