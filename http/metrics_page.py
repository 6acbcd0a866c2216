"""``GET /metrics`` on a listener of its own, for a Prometheus that can't sign: off unless the settings name a port.

Deny by default: nothing else is answered there, and it listens on loopback until somebody says otherwise. Whoever reaches it
reads counts and states of the whole zone, and nothing by name but nodes.
"""

import logging
from collections.abc import Mapping
from typing import Any

from nano.domain.errors import Unknown
from nano.domain.settings import MetricsSettings
from nano.http.answers import Answer, Receive, Send, send_answer
from nano.http.metrics import CONTENT_TYPE, NodeMetrics
from nano.http.problems import MethodNotAllowed, problem_answer
from nano.http.server import run_server

log = logging.getLogger("nano.http")


class MetricsPage:
    """An ASGI application with one page."""

    def __init__(self, metrics: NodeMetrics) -> None:
        self._metrics = metrics

    def begin_shutdown(self) -> None:
        """Nothing here stays open."""

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:  # noqa: ARG002
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["path"] != "/metrics":
            await send_answer(send, problem_answer(Unknown("There is only /metrics here.", code="unknown_route")))
        elif scope["method"] not in ("GET", "HEAD"):
            await send_answer(send, problem_answer(MethodNotAllowed(scope["method"], ("GET", "HEAD"))))
        else:
            await send_answer(send, metrics_answer(self._metrics))


def metrics_answer(metrics: NodeMetrics) -> Answer:
    body = metrics.text()
    return Answer(200, [(b"content-type", CONTENT_TYPE), (b"content-length", b"%d" % len(body))], body)


async def serve_metrics(settings: MetricsSettings, metrics: NodeMetrics) -> None:
    """Until cancelled. Raises Conflict(port_in_use), Failure(address_unusable)."""
    await run_server(MetricsPage(metrics), settings.host, settings.port)
