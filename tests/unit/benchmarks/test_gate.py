from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.comparisons import Outcome
from benchmarks.gate import GateResult, GateRules, GateVerdict, run_gate
from benchmarks.gate_command import main
from benchmarks.gate_records import conclude
from benchmarks.measures import Measure, Unavailable
from config.clock import SystemClock
from config.settings import GateSettings
from registry.evaluation import EvaluationData
from registry.records import ModelFile
from tests.unit.benchmarks.onnx_models import classifier, evaluation, failing, regression

SEED = 11
QUICK = GateSettings(seconds=1.0, samples=100, rate_per_second=400.0)


def judge(
    candidate: ModelFile,
    champion: ModelFile | None,
    data: EvaluationData | None,
    settings: GateSettings = QUICK,
) -> GateResult:
    return run_gate(
        candidate,
        champion,
        data,
        rules=GateRules(settings, accuracy_threshold=0.8),
        rng=np.random.default_rng(SEED),
        clock=SystemClock(),
    )


def test_an_equal_model_is_accepted_with_every_measure_of_both(tmp_path: Path) -> None:
    champion = classifier(tmp_path / "v1.onnx")
    result = judge(classifier(tmp_path / "v2.onnx", 2, noise=0.001), champion, evaluation())
    assert result.verdict is GateVerdict.ACCEPT, result.reason
    for arm in (result.candidate, result.champion):
        assert arm is not None
        names = {reading.name for reading in arm.readings}
        assert names == {
            "memory", "accuracy", "latency_p50", "latency_p90", "latency_p95", "latency_p99",
            "throughput", "power",
        }  # fmt: skip
        assert all(r.value > 0 for r in arm.readings if isinstance(r, Measure))
    assert {c.name for c in result.comparisons} == {
        "accuracy", "latency_p95", "throughput", "memory",
    }  # fmt: skip
    assert result.conditions.samples >= 60
    assert set(result.conditions.block_order) == {"A", "B"}
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_model_several_times_slower_is_rejected_with_both_latencies(tmp_path: Path) -> None:
    champion = classifier(tmp_path / "v1.onnx")
    slow = classifier(tmp_path / "v3.onnx", 3, layers=12)
    result = judge(slow, champion, evaluation())
    assert result.verdict is GateVerdict.REJECT
    assert "p95" in result.reason
    assert "1.00 ms allowed" in result.reason


def test_the_same_slow_down_is_accepted_when_the_margin_allows_it(tmp_path: Path) -> None:
    champion = classifier(tmp_path / "v1.onnx")
    slower = classifier(tmp_path / "v3.onnx", 3, layers=2)
    wide = QUICK.model_copy(update={"latency_margin_ms": 500.0})
    result = judge(slower, champion, evaluation(), wide)
    assert result.verdict is GateVerdict.ACCEPT, result.reason


def test_lower_accuracy_than_the_margin_is_rejected(tmp_path: Path) -> None:
    champion = classifier(tmp_path / "v1.onnx")
    worse = classifier(tmp_path / "v2.onnx", 2, noise=2.0)
    result = judge(worse, champion, evaluation())
    assert result.verdict is GateVerdict.REJECT
    assert "accuracy" in result.reason


def test_errors_on_evaluation_rows_reject_and_name_row_and_count(tmp_path: Path) -> None:
    data = evaluation()
    bad = np.asarray(data.inputs[:, 3], dtype=np.float64) >= 0.9
    result = judge(failing(tmp_path / "v5.onnx"), classifier(tmp_path / "v1.onnx"), data)
    assert result.verdict is GateVerdict.REJECT
    assert f"{int(bad.sum())} of 200 evaluation rows" in result.reason
    assert f"row {int(np.argmax(bad))}:" in result.reason


def test_an_error_that_the_evaluation_rows_do_not_show_passes(tmp_path: Path) -> None:
    data = evaluation()
    inputs = data.inputs.copy()
    inputs[:, 3] = 0.5
    result = judge(
        failing(tmp_path / "v5.onnx"),
        classifier(tmp_path / "v1.onnx"),
        EvaluationData(inputs, data.labels),
    )
    assert result.verdict is GateVerdict.ACCEPT, result.reason


def test_answers_that_are_not_numbers_reject(tmp_path: Path) -> None:
    data = evaluation()
    inputs = data.inputs.copy()
    inputs[5, 0] = -1.0
    labels = inputs[:, 0].astype(np.float64)
    result = judge(
        regression(tmp_path / "v2.onnx", 2, log=True),
        regression(tmp_path / "v1.onnx"),
        EvaluationData(inputs, labels),
    )
    assert result.verdict is GateVerdict.REJECT
    assert "row 5: the answer is not finite" in result.reason


def test_another_schema_rejects_with_both_schemas(tmp_path: Path) -> None:
    champion = classifier(tmp_path / "v1.onnx")
    other = classifier(tmp_path / "v2.onnx", 2, output="class")
    result = judge(other, champion, evaluation())
    assert result.verdict is GateVerdict.REJECT
    assert champion.schema.to_json() in result.reason
    assert other.schema.to_json() in result.reason


def test_a_file_that_does_not_load_rejects(tmp_path: Path) -> None:
    champion = classifier(tmp_path / "v1.onnx")
    (tmp_path / "v2.onnx").write_bytes(b"not a model")
    broken = replace(champion, version=2, path=tmp_path / "v2.onnx")
    result = judge(broken, champion, evaluation())
    assert result.verdict is GateVerdict.REJECT
    assert "version 2 could not be loaded" in result.reason


def test_a_champion_that_does_not_load_leaves_it_open(tmp_path: Path) -> None:
    candidate = classifier(tmp_path / "v2.onnx", 2)
    (tmp_path / "v1.onnx").write_bytes(b"not a model")
    broken = replace(candidate, version=1, path=tmp_path / "v1.onnx")
    assert judge(candidate, broken, evaluation()).verdict is GateVerdict.INCONCLUSIVE


def test_without_evaluation_data_nothing_is_accepted(tmp_path: Path) -> None:
    champion = classifier(tmp_path / "v1.onnx")
    candidate = classifier(tmp_path / "v2.onnx", 2)
    for opponent in (champion, None):
        result = judge(candidate, opponent, None)
        assert result.verdict is GateVerdict.INCONCLUSIVE
        assert "no evaluation data" in result.reason
        assert isinstance(result.candidate.reading("latency_p95"), Measure)


def test_too_few_rows_are_inconclusive(tmp_path: Path) -> None:
    champion = classifier(tmp_path / "v1.onnx")
    result = judge(classifier(tmp_path / "v2.onnx", 2), champion, evaluation(29))
    assert result.verdict is GateVerdict.INCONCLUSIVE
    assert "29 labelled rows" in result.reason


@pytest.mark.parametrize(
    ("noise", "verdict"), [(0.0, GateVerdict.ACCEPT), (2.0, GateVerdict.REJECT)]
)
def test_the_first_version_needs_the_accuracy_asked_of_any(
    tmp_path: Path, noise: float, verdict: GateVerdict
) -> None:
    result = judge(classifier(tmp_path / "v1.onnx", noise=noise), None, evaluation())
    assert result.verdict is verdict
    assert "0.800" in result.reason


def test_evaluation_rows_of_another_shape_are_no_verdict_on_the_model(tmp_path: Path) -> None:
    data = EvaluationData(np.zeros((50, 9), dtype=np.float32), np.zeros(50, dtype=np.int64))
    result = judge(classifier(tmp_path / "v2.onnx", 2), classifier(tmp_path / "v1.onnx"), data)
    assert result.verdict is GateVerdict.INCONCLUSIVE
    assert "(50, 9)" in result.reason


def test_a_regression_is_judged_by_its_error(tmp_path: Path) -> None:
    data = evaluation()
    labels = data.inputs[:, 0].astype(np.float64) + np.random.default_rng(1).normal(0, 0.1, 200)
    numbers = EvaluationData(data.inputs, labels)
    champion = regression(tmp_path / "v1.onnx")
    good = judge(regression(tmp_path / "v2.onnx", 2, factor=1.001), champion, numbers)
    assert good.verdict is GateVerdict.ACCEPT, good.reason
    bad = judge(regression(tmp_path / "v3.onnx", 3, factor=2.0), champion, numbers)
    assert bad.verdict is GateVerdict.REJECT
    assert "rmse" in bad.reason


def test_nothing_compared_is_not_accepted() -> None:
    verdict, reason = conclude(())
    assert verdict is GateVerdict.INCONCLUSIVE
    assert reason


def test_power_without_a_sensor_says_why(tmp_path: Path) -> None:
    result = judge(classifier(tmp_path / "v1.onnx"), None, evaluation())
    power = result.candidate.reading("power")
    if isinstance(power, Unavailable):
        assert power.reason
    else:
        assert power is not None
        assert power.value > 0


def test_the_command_prints_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classifier(tmp_path / "v1.onnx")
    classifier(tmp_path / "v2.onnx", 2)
    (tmp_path / "rows.npz").write_bytes(evaluation().to_bytes())
    files = ["--champion", "v1.onnx", "--model", "v2.onnx", "--evaluation", "rows.npz"]
    arguments = [str(tmp_path / a) if not a.startswith("--") else a for a in files]
    (tmp_path / "quick.yaml").write_text("gate: {seconds: 1, samples: 100, rate_per_second: 400}\n")
    assert main([*arguments, "--json", "--config", str(tmp_path / "quick.yaml")]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["verdict"] == "accept"
    assert {c["outcome"] for c in record["comparisons"]} == {Outcome.PASS.value}


def test_the_command_refuses_what_is_no_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v1.onnx").write_bytes(b"\x80\x04 pickled")
    assert main(["--model", str(tmp_path / "v1.onnx")]) == 64
    assert "pickle" in capsys.readouterr().err
