"""The BentoML service of an edge device; a bento holds it with its model in the folder `edge`."""

from __future__ import annotations

from pathlib import Path

import bentoml

from config.loader import load_settings
from serving.edge.app import EdgeApp
from serving.replies import Receive, Scope, Send

FOLDER = Path(__file__).resolve().parents[2] / "edge"


class _Loaded:
    """Makes the application with the first request: the supervising process needs no model."""

    def __init__(self) -> None:
        self._app: EdgeApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.app(scope, receive, send)

    @property
    def app(self) -> EdgeApp:
        """The application, made when it is first asked for."""
        if self._app is None:
            self._app = EdgeApp(FOLDER, load_settings().serving)
        return self._app


_APP = _Loaded()


@bentoml.asgi_app(_APP)
@bentoml.service(name="edge", metrics={"enabled": False}, monitoring={"enabled": False})
class Edge:
    """Serves the one model of its bento."""

    def __init__(self) -> None:
        self._model = _APP.app.model
