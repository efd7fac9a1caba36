"""All settings, with the specification's values as defaults.

The same keys, each with a comment for the reader, stand in `agent.yaml`; a test holds the two
together. Times are seconds unless the name says otherwise, shares are 0 to 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from config.paths import Home
from config.performance_settings import PerformanceSettings, RedisSettings
from config.sections import Alpha, Loopback, Names, Port, Seconds, Section, Share


class MonitoringSettings(Section):
    """How often the agent looks, thinks, decides and acts."""

    interval_seconds: Seconds = 30.0
    analysis_interval_seconds: Seconds = 60.0
    optimization_interval_seconds: Seconds = 300.0
    execution_interval_seconds: Seconds = 10.0


class ThresholdSettings(Section):
    """What an action has to promise, and may risk, to be carried out."""

    min_improvement_threshold: Share = 0.05
    max_risk_threshold: Share = 0.7
    max_concurrent_actions: int = Field(default=3, ge=1, le=100)


class SafetySettings(Section):
    """What the agent may do without a person."""

    enable_automatic_actions: bool = True
    require_approval_for_critical: bool = True
    rollback_on_failure: bool = True
    simulation_mode: bool = False


class GoalSettings(Section):
    """One optimisation goal."""

    metric_name: str = Field(min_length=1, max_length=200)
    target_value: float
    direction: Literal["minimize", "maximize"]
    weight: float = Field(default=1.0, ge=0.0, le=1000.0)


class LedgerSettings(Section):
    """The database of routing, experiments and records."""

    url: str | None = None


class MlflowSettings(Section):
    """The model registry and the published record of runs."""

    tracking_uri: str | None = None
    experiment: str = Field(default="prime-spark", min_length=1, max_length=200)
    timeout_seconds: float = Field(default=5.0, gt=0.0, le=120.0)


class PrefectSettings(Section):
    """The flow engine."""

    api_url: str | None = None
    work_pool: str = Field(default="prime-spark", min_length=1, max_length=200)


class PortSettings(Section):
    """Ports of the servers that `prime-spark up` starts; 0 takes a free one."""

    prefect: Port = 0
    mlflow: Port = 0


class ServingSettings(Section):
    """The predictor."""

    host: Loopback = "127.0.0.1"
    port: Port = 0
    workers: int = Field(default=1, ge=1, le=64)
    models: Names = ()
    poll_seconds: float = Field(default=1.0, ge=0.05, le=60.0)
    flush_seconds: float = Field(default=1.0, ge=0.05, le=60.0)
    drain_seconds: float = Field(default=30.0, ge=0.0, le=600.0)
    max_batch_size: int = Field(default=32, ge=1, le=4096)
    max_wait_ms: float = Field(default=0.0, ge=0.0, le=1000.0)
    cache_entries: int = Field(default=0, ge=0, le=10_000_000)
    cache_max_mb: float = Field(default=64.0, gt=0.0, le=65_536.0)
    queue_limit: int = Field(default=256, ge=1, le=100_000)
    request_timeout_seconds: float = Field(default=10.0, gt=0.0, le=600.0)
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024, le=1024**3)
    max_rows: int = Field(default=4096, ge=1, le=1_000_000)
    latency_objective_ms: float = Field(default=100.0, gt=0.0, le=600_000.0)
    intra_op_threads: int = Field(default=1, ge=1, le=256)
    traffic_entries: int = Field(default=262_144, ge=0, le=1_048_576)
    feedback_window_days: float = Field(default=7.0, gt=0.0, le=365.0)
    feedback_max_items: int = Field(default=1000, ge=1, le=100_000)


class GateSettings(Section):
    """The benchmark a new version has to pass before it meets live traffic."""

    seconds: float = Field(default=4.0, gt=0.0, le=3600.0)
    samples: int = Field(default=200, ge=20, le=1_000_000)
    rate_per_second: float = Field(default=200.0, gt=0.0, le=1_000_000.0)
    latency_objective_ms: float = Field(default=100.0, gt=0.0, le=600_000.0)
    latency_margin_relative: float = Field(default=0.20, ge=0.0, le=100.0)
    latency_margin_ms: float = Field(default=1.0, ge=0.0, le=600_000.0)
    throughput_margin_relative: float = Field(default=0.20, ge=0.0, le=1.0)
    accuracy_margin: Share = 0.05
    memory_margin_relative: float = Field(default=0.5, ge=0.0, le=100.0)
    memory_margin_mb: float = Field(default=64.0, ge=0.0, le=1_000_000.0)
    min_evaluation_rows: int = Field(default=30, ge=1, le=10_000_000)
    alpha: Alpha = 0.05


class ExperimentSettings(Section):
    """An A/B test on live traffic, unless its own configuration says otherwise."""

    traffic_split: float = Field(default=0.10, gt=0.0, le=0.5)
    duration_seconds: Seconds = 3600.0
    success_metric: str = Field(default="accuracy", min_length=1, max_length=100)
    min_improvement: float = Field(default=0.10, ge=0.0, le=10.0)
    alpha: Alpha = 0.05
    power: float = Field(default=0.80, gt=0.5, lt=1.0)
    looks: int = Field(default=14, ge=1, le=1000)
    look_seconds: float = Field(default=10.0, gt=0.0, le=86_400.0)
    planned_samples: int | None = Field(default=None, ge=10)
    guardrail_alpha: Alpha = 0.02
    sample_ratio_alpha: Alpha = 0.001
    latency_objective_ms: float = Field(default=100.0, gt=0.0, le=600_000.0)
    min_exposures: int = Field(default=100, ge=1, le=1_000_000_000)
    lease_seconds: float = Field(default=30.0, ge=1.0, le=3600.0)


class ModelSettings(Section):
    """Which models Prime Spark looks after, and when it steps in."""

    names: Names = ()
    driver: Literal["watch", "agent"] = "watch"
    watch_interval_seconds: Seconds = 60.0
    auto_promote: bool = True
    accuracy_threshold: Share = 0.80
    degraded_window_seconds: Seconds = 3600.0
    degraded_min_labels: int = Field(default=100, ge=1, le=1_000_000_000)
    retrain_entrypoint: str | None = None
    retrain_cooldown_seconds: Seconds = 21_600.0
    keep_versions: int = Field(default=3, ge=1, le=100_000)
    watched_folder: Path | None = None
    source_registry: str | None = None


class DeploymentTargetSettings(Section):
    """A place that models are deployed to besides the local predictor."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    kind: Literal["remote", "edge"]
    url: str | None = None
    registry: str | None = None
    folder: Path | None = None
    quantize: bool = True
    models: Names = ()


class AgentSettings(Section):
    """The resident agent."""

    capabilities: Names = ()
    targets: Names = ()
    notifiers: Names = ("log",)
    webhook_url: str | None = None
    lease_seconds: float = Field(default=30.0, ge=1.0, le=3600.0)
    target_timeout_seconds: float = Field(default=5.0, gt=0.0, le=60.0)
    exposure: Share = 0.1
    cooldown_seconds: float = Field(default=300.0, ge=0.0, le=31_536_000.0)
    changes_per_hour: int = Field(default=12, ge=0, le=100_000)
    changes_per_day: int = Field(default=100, ge=0, le=1_000_000)
    maintenance_windows: tuple[str, ...] = ()
    approval_expires_seconds: Seconds = 86_400.0
    two_person_rule: bool = False
    settle_seconds: float = Field(default=10.0, ge=0.0, le=86_400.0)
    verify_samples: int = Field(default=20, ge=10, le=10_000)
    verify_seconds: Seconds = 300.0
    verify_alpha: Alpha = 0.005
    study_seconds: Seconds = 60.0
    history_max_mb: float = Field(default=10.0, gt=0.1, le=100_000.0)
    raw_hours: float = Field(default=24.0, gt=0.0, le=8760.0)
    five_minute_days: float = Field(default=7.0, gt=0.0, le=3650.0)
    log_format: Literal["text", "json"] = "text"
    log_max_mb: float = Field(default=5.0, gt=0.0, le=10_000.0)
    log_files: int = Field(default=3, ge=1, le=100)


class ApiSettings(Section):
    """The agent's REST API."""

    host: str = Field(default="127.0.0.1", min_length=1, max_length=253)
    port: Port = 0
    allow_remote: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    max_body_bytes: int = Field(default=65_536, ge=1024, le=16 * 1024 * 1024)
    requests_per_minute: int = Field(default=600, ge=1, le=1_000_000)
    max_page: int = Field(default=200, ge=1, le=10_000)


class PrometheusSettings(Section):
    """A Prometheus server that is read; each query becomes a metric of that name."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    url: str = Field(min_length=1, max_length=2000)
    queries: dict[str, str] = Field(default_factory=dict)


_DEFAULT_GOALS = (
    GoalSettings(
        metric_name="inference_latency_ms", target_value=75.0, direction="minimize", weight=1.0
    ),
    GoalSettings(metric_name="cache_hit_rate", target_value=0.90, direction="maximize", weight=0.8),
)


class Settings(Section):
    """Everything that can be set; `config.loader.load_settings` makes one."""

    home: Path = Path("~/.prime-spark")
    monitoring: MonitoringSettings = MonitoringSettings()
    thresholds: ThresholdSettings = ThresholdSettings()
    safety: SafetySettings = SafetySettings()
    goals: tuple[GoalSettings, ...] = _DEFAULT_GOALS
    ledger: LedgerSettings = LedgerSettings()
    mlflow: MlflowSettings = MlflowSettings()
    prefect: PrefectSettings = PrefectSettings()
    ports: PortSettings = PortSettings()
    serving: ServingSettings = ServingSettings()
    gate: GateSettings = GateSettings()
    experiment: ExperimentSettings = ExperimentSettings()
    models: ModelSettings = ModelSettings()
    agent: AgentSettings = AgentSettings()
    api: ApiSettings = ApiSettings()
    performance: PerformanceSettings = PerformanceSettings()
    redis: tuple[RedisSettings, ...] = ()
    prometheus: tuple[PrometheusSettings, ...] = ()
    deployment_targets: tuple[DeploymentTargetSettings, ...] = ()

    @property
    def home_dir(self) -> Home:
        """The home directory, with `~` resolved."""
        return Home(self.home.expanduser().absolute())

    @property
    def ledger_url(self) -> str:
        """The ledger's database URL: as set, or SQLite in the home directory."""
        return self.ledger.url or f"sqlite:///{self.home_dir.ledger_file}"
