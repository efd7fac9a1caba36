"""What one run of `prime-spark up` starts, and where: servers the user has set are left alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from config.settings import Settings
from flows.up import services as catalogue
from flows.up.ports import HeldPort, hold_port
from flows.up.services import Service
from flows.up.session import Urls


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one run."""

    prefect: HeldPort
    mlflow: HeldPort
    predictor: HeldPort


@contextlib.contextmanager
def held_ports(settings: Settings) -> Iterator[Ports]:
    """Hold the three ports for as long as the context lasts.

    Raises:
        ConflictError: a port that was set is taken.
    """
    host = settings.serving.host
    wanted: Sequence[tuple[int, str]] = (
        (settings.ports.prefect, "ports.prefect"),
        (settings.ports.mlflow, "ports.mlflow"),
        (settings.serving.port, "serving.port"),
    )
    with contextlib.ExitStack() as stack:
        held = []
        for number, setting in wanted:
            held.append(hold_port(number, host=host, setting=setting))
            stack.callback(held[-1].release)
        yield Ports(*held)


def services_of(settings: Settings, ports: Ports, urls: Urls, up_id: str) -> tuple[Service, ...]:
    """Return what has to be started; servers the user has set are not among it."""
    return tuple(_services(settings, ports, urls, up_id))


def urls_of(settings: Settings, ports: Ports) -> Urls:
    """Return where every server is: as the user has set it, else on its held port."""
    host = settings.serving.host
    prefect = f"http://{host}:{ports.prefect.number}"
    api = (settings.prefect.api_url or f"{prefect}/api").rstrip("/")
    return Urls(
        prefect=api.removesuffix("/api"),
        prefect_api=api,
        mlflow=(settings.mlflow.tracking_uri or f"http://{host}:{ports.mlflow.number}").rstrip("/"),
        predictor=f"http://{host}:{ports.predictor.number}",
    )


def _services(settings: Settings, ports: Ports, urls: Urls, up_id: str) -> Iterator[Service]:
    own_prefect, own_mlflow = not settings.prefect.api_url, not settings.mlflow.tracking_uri
    if own_prefect:
        yield catalogue.prefect_server(settings, ports.prefect.number)
    if own_mlflow:
        yield catalogue.mlflow_server(settings, ports.mlflow.number)
    yield catalogue.predictor(settings, ports.predictor.number)
    yield catalogue.deployments((catalogue.PREFECT,) if own_prefect else ())
    yield catalogue.worker(settings, urls.prefect_api, up_id)
    registry = (catalogue.MLFLOW,) if own_mlflow else ()
    yield catalogue.wake((catalogue.DEPLOYMENTS, *registry))
    yield catalogue.agent((catalogue.DEPLOYMENTS, *registry))
    yield catalogue.api(settings)


def resolved(settings: Settings, urls: Urls) -> Settings:
    """Return the settings with every address filled in."""
    port = int(urls.predictor.rpartition(":")[2])
    return settings.model_copy(
        update={
            "mlflow": settings.mlflow.model_copy(update={"tracking_uri": urls.mlflow}),
            "prefect": settings.prefect.model_copy(update={"api_url": urls.prefect_api}),
            "serving": settings.serving.model_copy(update={"port": port}),
        }
    )
