"""Prometheus metrics of a running server, and a line of JSON per event."""

import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nommer.errors import shortened
from nommer.explorer import explorer_page, script_hashes

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Ends of the ranges in which seconds are counted."""

_IMAGES = (1, 2, 4, 8, 16, 32, 64)
"""The same of images in a batch."""

_GONE = 499
"""Status where the client went away, as nginx has it."""

_NOT_ANSWERED = "the server failed to answer; its log tells why"

PAGES = Path(__file__).with_name("pages")
"""Files that are served as they are."""


def content_policy(pages: Path) -> str:
    """Return the policy: nothing from elsewhere, and of scripts in pages only those written here.

    Args:
        pages: folder of pages beside the explorer.
    """
    texts = [explorer_page(), *(one.read_text("utf-8") for one in sorted(pages.glob("*.html")))]
    scripts = " ".join(one for text in texts for one in script_hashes(text))
    return (
        "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
        f"script-src 'self' {scripts}; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


_HEADERS = {
    "content-security-policy": content_policy(PAGES),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}
"""Of every response: nothing is loaded from elsewhere, and no other page may frame this one."""

logger = logging.getLogger("nommer.serving")


class Metrics:
    """The numbers of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        kept: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "nommer_requests_total", "Requests answered", ["route", "status"], **kept
        )
        self.seconds = Histogram(
            "nommer_request_seconds", "Time of a request", ["route"], buckets=_SECONDS, **kept
        )
        self.images = Counter(
            "nommer_images_total", "Images answered, or failed", ["model", "outcome"], **kept
        )
        self.batch = Histogram(
            "nommer_batch_images", "Images computed at a time", ["model"], buckets=_IMAGES, **kept
        )
        self.waiting = Gauge(
            "nommer_waiting_images", "Images taken and not answered yet", ["model"], **kept
        )
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def text(self) -> bytes:
        """Return all of them as Prometheus reads them."""
        return generate_latest(self.registry)

    def watch(self, model: str, waiting: Callable[[], float]) -> None:
        """Tell the length of a model's queue whenever it is asked for."""
        self.waiting.labels(model).set_function(waiting)


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, what happened, and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; of an error also its kind and where it comes from."""
        told: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "told", {}),
        }
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps(told)


def log(event: str, **told: Any) -> None:
    """Write a line about something that happened."""
    logger.info(event, extra={"told": told})


def begin_logging() -> None:
    """Write the lines of this server and of uvicorn to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (("nommer.serving", logging.INFO), ("uvicorn", logging.WARNING)):
        one = logging.getLogger(name)
        one.handlers, one.propagate = [handler], False
        one.setLevel(level)


class Watch:
    """Around the application: a line and a count per request, with its status and its time.

    Args:
        app: the application.
        metrics: that are counted in.
        routes: paths that are counted by name; all others are counted as one.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: frozenset[str]) -> None:
        self.app, self.metrics, self.routes = app, metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), _GONE
        scope.setdefault("state", {})["told"] = told = dict[str, Any]()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception:  # one request that fails is no end of the server
            logger.exception("failed")
            if status == _GONE:
                await JSONResponse({"error": _NOT_ANSWERED}, 500)(scope, receive, watched)
        finally:
            seconds, path = time.monotonic() - began, scope["path"]
            route = path if path in self.routes else "other"
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            client = scope.get("client") or ("",)
            log(
                "request",
                method=shortened(scope["method"]),
                path=shortened(path, 200),
                status=status,
                seconds=round(seconds, 4),
                client=client[0],
                **told,
            )
