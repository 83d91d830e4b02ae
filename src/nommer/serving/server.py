"""`nommer serve` as a process: models, application, uvicorn, signals."""

import signal
import socket
from types import FrameType

import uvicorn

from nommer.errors import InputError
from nommer.serving.access import TOKEN, token_of_environment
from nommer.serving.app import Server, create_app
from nommer.serving.models import open_models
from nommer.serving.watching import begin_logging, log
from nommer.settings.serve import ServeSettings

_BACKLOG = 2048
"""Connections that wait to be taken."""

_GRACE = 5.0
"""Seconds beyond a request's own time in which the last requests may end."""


def serve_models(settings: ServeSettings) -> None:
    """Serve models until SIGTERM or Ctrl-C, as `nommer.serve` describes."""
    token = token_of_environment()
    listening = listen(settings)
    with listening:
        models = open_models(settings.models, threads=settings.threads, device=settings.device)
        begin_logging()
        server = Server(settings, models, token)
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        log(
            "serving",
            address=f"http://{shown}:{port}",
            models=list(models),
            engines=sorted({model.engine for model in models.values()}),
            token=TOKEN if token else None,
        )
        run(server, listening)
        log("stopped")


def listen(settings: ServeSettings) -> socket.socket:
    """Return a socket that is bound to the address; it listens once the models are loaded.

    Raises:
        InputError: the address is taken, or none of this machine's.
    """
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        # named TCP, or asyncio leaves Nagle's algorithm on: every answer would take 40 ms longer
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((settings.host, settings.port))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"--host {settings.host} --port {settings.port}: cannot be listened on: {reason}; "
            "choose another port, or 0 for any"
        ) from error
    return bound


def run(server: Server, listening: socket.socket) -> None:
    """Answer requests until a signal asks to stop; what was taken is answered first."""
    config = uvicorn.Config(
        create_app(server),
        log_config=None,
        access_log=False,
        backlog=_BACKLOG,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=int(server.settings.timeout + _GRACE),
        server_header=False,
        h11_max_incomplete_event_size=2**16,
    )
    before = {one: signal.signal(one, _stopped) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _stopped(number: int, frame: FrameType | None) -> None:
    """Take the signal that uvicorn raises again once it has stopped."""
