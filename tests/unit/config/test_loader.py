"""What wins among settings, and that every mistake is one sentence with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.errors import ConfigError
from config.loader import default_file, load_settings
from config.settings import Settings


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def _refused(user_file: Path, text: str, environ: dict[str, str] | None = None) -> str:
    user_file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(user_file, environ or {})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_defaults_are_those_of_the_specification() -> None:
    settings = load_settings(environ={})
    assert settings.monitoring.interval_seconds == 30
    assert settings.monitoring.analysis_interval_seconds == 60
    assert settings.monitoring.optimization_interval_seconds == 300
    assert settings.thresholds.min_improvement_threshold == 0.05
    assert settings.thresholds.max_risk_threshold == 0.7
    assert settings.thresholds.max_concurrent_actions == 3
    assert settings.safety.enable_automatic_actions
    assert settings.safety.require_approval_for_critical
    assert settings.safety.rollback_on_failure
    assert [goal.metric_name for goal in settings.goals] == [
        "inference_latency_ms",
        "cache_hit_rate",
    ]
    assert [goal.target_value for goal in settings.goals] == [75.0, 0.90]
    assert settings.experiment.traffic_split == 0.1
    assert settings.experiment.duration_seconds == 3600
    assert settings.experiment.min_improvement == 0.10


def test_the_file_of_defaults_and_the_code_agree() -> None:
    assert Settings.model_validate(default_file().values) == Settings()


def test_the_user_s_file_wins_over_the_defaults_and_variables_over_both(user_file: Path) -> None:
    user_file.write_text("serving:\n  port: 8080\n  workers: 2\n")
    settings = load_settings(user_file, {"PRIME_SPARK_SERVING__WORKERS": "3"})
    assert (settings.serving.port, settings.serving.workers) == (8080, 3)
    assert settings.serving.queue_limit == Settings().serving.queue_limit


def test_a_variable_names_the_user_s_file_and_an_argument_comes_first(
    user_file: Path, tmp_path: Path
) -> None:
    user_file.write_text("serving: {port: 1}")
    other = tmp_path / "other.yaml"
    other.write_text("serving: {port: 2}")
    environ = {"PRIME_SPARK_CONFIG": str(user_file)}
    assert load_settings(environ=environ).serving.port == 1
    assert load_settings(other, environ).serving.port == 2


def test_variables_hold_lists_and_nothing(user_file: Path) -> None:
    user_file.write_text("")
    environ = {
        "PRIME_SPARK_MODELS__NAMES": "digits, faces",
        "PATH": "/bin",
        "PRIME_SPARK_UP_ID": "x",
    }
    assert load_settings(user_file, environ).models.names == ("digits", "faces")


def test_an_unknown_key_is_named_with_its_line_and_those_allowed(user_file: Path) -> None:
    message = _refused(user_file, "gate:\n  alpha: 0.05\n  sampels: 3\n")
    assert f"{user_file}, line 3" in message
    assert "`gate.sampels` is not a setting" in message
    assert "samples" in message.split("allowed here:")[1]


def test_an_unknown_top_level_key_is_named_with_those_allowed(user_file: Path) -> None:
    message = _refused(user_file, "gates: {}\n")
    assert f"{user_file}, line 1: `gates`" in message
    assert "gate" in message.split("allowed here:")[1]


@pytest.mark.parametrize(
    ("text", "line", "key", "allowed"),
    [
        ("serving:\n  port: often\n", 2, "serving.port", "integer"),
        ("serving:\n  port: 99999\n", 2, "serving.port", "65535"),
        ("\n\ngate:\n  alpha: 0.5\n", 4, "gate.alpha", "less than 0.5"),
        ("gate:\n  alpha: .nan\n", 2, "gate.alpha", "finite number"),
        ("serving:\n  host: 0.0.0.0\n", 2, "serving.host", "127.0.0.1"),
        ("serving: 3\n", 1, "serving", "dictionary"),
        ("safety:\n  simulation_mode: maybe\n", 2, "safety.simulation_mode", "boolean"),
        (
            "goals:\n- metric_name: a\n  target_value: 1\n  direction: up\n",
            4,
            "direction",
            "minimize",
        ),
        ("goals:\n- metric_name: a\n", 2, "target_value", "missing"),
    ],
)
def test_wrong_values_are_told_with_line_key_and_what_is_allowed(
    user_file: Path, text: str, line: int, key: str, allowed: str
) -> None:
    message = _refused(user_file, text)
    assert f"{user_file}, line {line}:" in message
    assert key in message
    assert allowed in message


def test_a_wrong_variable_is_named(user_file: Path) -> None:
    message = _refused(user_file, "", {"PRIME_SPARK_SERVING__PORT": "often"})
    assert "environment variable PRIME_SPARK_SERVING__PORT" in message
    assert "integer" in message


@pytest.mark.parametrize("name", ["PRIME_SPARK_SERVNG__PORT", "PRIME_SPARK_FOO"])
def test_an_unknown_variable_is_refused(user_file: Path, name: str) -> None:
    message = _refused(user_file, "", {name: "1"})
    assert name in message
    assert "SERVING" in message


def test_an_unknown_variable_below_a_section_is_refused(user_file: Path) -> None:
    message = _refused(user_file, "", {"PRIME_SPARK_SERVING__PRT": "1"})
    assert "PRIME_SPARK_SERVING__PRT" in message
    assert "port" in message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read settings file .*none\.yaml.*No such file"):
        load_settings(tmp_path / "none.yaml", {})


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = load_settings(environ={})
    with pytest.raises(ValueError, match="frozen"):
        settings.home = Path("/elsewhere")  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        settings.serving.port = 1  # type: ignore[misc]


def test_the_ledger_is_a_file_in_the_home_unless_set(tmp_path: Path) -> None:
    at_home = load_settings(environ={"PRIME_SPARK_HOME": str(tmp_path)})
    assert at_home.ledger_url == f"sqlite:///{tmp_path}/ledger.db"
    url = "postgresql://db/x"
    assert load_settings(environ={"PRIME_SPARK_LEDGER__URL": url}).ledger_url == url
