from __future__ import annotations

from pathlib import Path

from config.loader import load_settings
from config.settings import MlflowSettings, PrefectSettings, Settings
from flows.up.environment import child_environment
from flows.up.session import Urls

_URLS = Urls(
    "http://127.0.0.1:1", "http://127.0.0.1:1/api", "http://127.0.0.1:2", "http://127.0.0.1:3"
)
_USER = {
    "PATH": "/bin",
    "PREFECT_API_KEY": "k",
    "PREFECT_API_URL": "https://elsewhere/api",
    "MLFLOW_TRACKING_URI": "https://elsewhere",
    "MLFLOW_TRACKING_TOKEN": "t",
    "BENTOML_CONFIG": "/x",
    "PRIME_SPARK_UP_ID": "up-of-another-run",
}


def _environment(settings: Settings, config_file: Path | None = None) -> dict[str, str]:
    return child_environment(_USER, settings, _URLS, up_id="up-1", config_file=config_file)


def test_children_find_exactly_the_servers_of_the_run(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    made = load_settings(environ=_environment(settings))
    assert made.home == tmp_path
    assert made.mlflow.tracking_uri == _URLS.mlflow
    assert made.prefect.api_url == _URLS.prefect_api
    assert made.serving.port == 3


def test_variables_for_other_servers_do_not_reach_our_own(tmp_path: Path) -> None:
    environment = _environment(Settings(home=tmp_path))
    assert environment["PREFECT_API_URL"] == _URLS.prefect_api
    assert environment["MLFLOW_TRACKING_URI"] == _URLS.mlflow
    assert not {"PREFECT_API_KEY", "MLFLOW_TRACKING_TOKEN", "BENTOML_CONFIG"} & set(environment)
    assert environment["PRIME_SPARK_UP_ID"] == "up-1"
    assert environment["PATH"] == "/bin"


def test_credentials_for_a_user_s_own_servers_are_kept(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        mlflow=MlflowSettings(tracking_uri=_URLS.mlflow),
        prefect=PrefectSettings(api_url=_URLS.prefect_api),
    )
    environment = _environment(settings)
    assert environment["PREFECT_API_KEY"] == "k"
    assert environment["MLFLOW_TRACKING_TOKEN"] == "t"
    assert "PREFECT_HOME" not in environment
    assert "MLFLOW_SERVER_ENABLE_JOB_EXECUTION" not in environment


def test_our_own_servers_are_quiet_and_lean(tmp_path: Path) -> None:
    environment = _environment(Settings(home=tmp_path))
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["PREFECT_HOME"].startswith(str(tmp_path))


def test_the_user_s_settings_file_is_handed_on_by_its_full_path(tmp_path: Path) -> None:
    environment = _environment(Settings(home=tmp_path), Path("mine.yaml"))
    assert environment["PRIME_SPARK_CONFIG"] == str(Path("mine.yaml").absolute())
