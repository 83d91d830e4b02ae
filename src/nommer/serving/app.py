"""The routes of the server, as an ASGI application on FastAPI.

| route | |
|---|---|
| `POST /predict` | the answers to images |
| `POST /explain` | nominations and answers |
| `GET /models` | names, tasks, classes and options |
| `GET /health`, `/ready` | the process lives; it takes requests |
| `GET /metrics` | for Prometheus |
| `GET /openapi.json`, `/docs` | this, for programs and for people, without outside resources |
| `GET /` | the explorer, which asks the other routes |
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from nommer.errors import InputError, quoted
from nommer.explorer import explorer_page
from nommer.serving.access import check_access
from nommer.serving.answers import as_dict
from nommer.serving.asked import check_asked
from nommer.serving.batching import Batcher, Upload, Work, answer_pictures
from nommer.serving.documentation import EXPLAIN, MODELS, PREDICT, STATE
from nommer.serving.errors import RefusedError
from nommer.serving.model import Look, Options, Picture, ServedModel
from nommer.serving.reading import Asked, Limits, inspect, read_request
from nommer.serving.watching import PAGES, Metrics, Watch
from nommer.settings.serve import ServeSettings
from nommer.shown import escaped_json

_DECODERS = 2


@dataclass
class Server:
    """State that the routes share."""

    settings: ServeSettings
    models: dict[str, ServedModel]
    token: bytes | None = None
    metrics: Metrics = field(default_factory=Metrics)
    batchers: dict[str, Batcher] = field(default_factory=dict)
    ready: bool = False
    decoders: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_DECODERS, "decode")
    )

    @property
    def limits(self) -> Limits:
        """Limits of a request."""
        told = self.settings
        return Limits(told.max_bytes, told.max_images, told.max_pixels)

    @property
    def full(self) -> bool:
        """True where no model has room for another image."""
        return all(batcher.waiting >= batcher.capacity for batcher in self.batchers.values())

    def start(self) -> None:
        """Begin to answer."""
        told = self.settings
        for name, model in self.models.items():
            batcher = self.batchers[name] = Batcher(
                model,
                capacity=told.queue,
                max_batch=told.max_batch,
                max_delay=told.max_delay / 1000,
                max_pixels=told.max_pixels,
                decoders=self.decoders,
                observe=self.metrics.batch.labels(name).observe,
            )
            batcher.start()
            self.metrics.watch(name, partial(_waiting, batcher))
        self.ready = True

    async def stop(self) -> None:
        """Answer what was taken, and end."""
        self.ready = False
        for batcher in self.batchers.values():
            await batcher.stop()
        self.decoders.shutdown(wait=False)

    def model_called(self, name: str | None) -> Batcher:
        """Return the queue of a model.

        Raises:
            RefusedError: 404, there is none of this name.
        """
        chosen = next(iter(self.models)) if name is None else name
        if chosen not in self.batchers:
            raise RefusedError(
                404, f"there is no model {quoted(chosen)}; there are {', '.join(self.models)}"
            )
        return self.batchers[chosen]


def _waiting(batcher: Batcher) -> float:
    return batcher.waiting


def create_app(server: Server) -> FastAPI:
    """Return the application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.start()
        yield
        await server.stop()

    app = FastAPI(
        title="nommer",
        version=version("nommer"),
        description="Answers images with the models that it was started with.",
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    _add_errors(app)
    _add_answers(app, server)
    _add_state(app, server)
    _add_pages(app)
    routes = frozenset(route.path for route in app.routes if hasattr(route, "path"))
    app.add_middleware(Watch, metrics=server.metrics, routes=routes)
    return app


def refusal(error: RefusedError) -> Response:
    """Return a refusal as a response."""
    return JSONResponse({"error": error.sentence}, error.status, error.headers)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return refusal(error)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> Response:
        allowed = _methods(app, request.url.path)
        if allowed and error.status_code in (404, 405):  # the folder of pages knows GET alone
            sentence = f"{request.method} is not for this route; it takes {allowed}"
            return JSONResponse({"error": sentence}, 405, {"Allow": allowed})
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


def _methods(app: FastAPI, path: str) -> str:
    """Return the methods of a route, as a header has them; nothing where there is no such route."""
    of_path = (route for route in app.routes if getattr(route, "path", None) == path)
    return ", ".join(sorted({one for route in of_path for one in getattr(route, "methods", ())}))


def _add_answers(app: FastAPI, server: Server) -> None:
    @app.post("/predict", **PREDICT)
    async def predict(request: Request) -> Response:
        return await answer(request, server, explaining=False)

    @app.post("/explain", **EXPLAIN)
    async def explain(request: Request) -> Response:
        return await answer(request, server, explaining=True)


class Answer(JSONResponse):
    """JSON with names of strangers, which a terminal may show as it comes."""

    def render(self, content: Any) -> bytes:
        """Return the bytes, without marks that turn the direction of text."""
        return escaped_json(bytes(super().render(content)).decode()).encode()


async def answer(request: Request, server: Server, *, explaining: bool) -> Response:
    """Answer a request with images, or refuse it; never later than its time."""
    check_access(request, server.token)
    until = time.monotonic() + server.settings.timeout
    told = request.state.told
    if server.full:
        next(iter(server.batchers.values())).check_room()  # before the images are sent
    try:
        async with asyncio.timeout(server.settings.timeout):
            asked = await read_request(request, server.limits)
    except TimeoutError as error:
        seconds = f"{server.settings.timeout:g}"
        raise RefusedError(408, f"the request was not sent within {seconds} seconds") from error
    except ClientDisconnect as error:
        raise RefusedError(400, "the request ended before it was whole") from error
    batcher = server.model_called(asked.model)
    told |= {"model": batcher.model.name, "images": len(asked.images)}
    told["bytes"] = sum(len(content) for _, content in asked.images)
    check_asked(asked, batcher.model, explaining=explaining)
    work = partial(_explain, look=asked.look) if explaining else answer_pictures
    try:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + until - time.monotonic()):
            found = await _answers(server, batcher, asked, work)
    except TimeoutError as error:
        raise RefusedError(
            504, f"no answer within {server.settings.timeout:g} seconds; send fewer images"
        ) from error
    return _response(server, batcher.model, found, asked.options)


async def _answers(server: Server, batcher: Batcher, asked: Asked, work: Work) -> list[Any]:
    """Return the answer to every image; one that cannot be taken fails alone."""
    loop = asyncio.get_running_loop()
    inspected = [
        await loop.run_in_executor(server.decoders, inspect, name, content, server.limits)
        for name, content in asked.images
    ]
    sound = [one for one in inspected if isinstance(one, Upload)]
    jobs = batcher.submit(sound, asked.options, work)
    try:
        answered = iter(await asyncio.gather(*(job.answer for job in jobs)))
    finally:
        for job in jobs:
            job.answer.cancel()  # of what was given up; the others are done
    return [next(answered) if isinstance(one, Upload) else one for one in inspected]


def _explain(model: ServedModel, pictures: Sequence[Picture], *, look: Look) -> list[Any]:
    """Return explanations; a picture that lacks a token fails alone."""
    try:
        return [model.explain(picture, look) for picture in pictures]
    except InputError as error:
        raise RefusedError(422, str(error)) from error


def _response(
    server: Server, model: ServedModel, found: Sequence[Any], options: Options
) -> Response:
    """Return answers as JSON: 200, or 422 where all images failed."""
    results = [one if isinstance(one, dict) else as_dict(one, options) for one in found]
    failed = sum("error" in result for result in results)
    images = server.metrics.images
    images.labels(model.name, "failed").inc(failed)
    images.labels(model.name, "answered").inc(len(results) - failed)
    body = {"model": model.name, "task": model.task, "results": results}
    return Answer(body, 422 if failed == len(results) else 200)


def _add_state(app: FastAPI, server: Server) -> None:
    @app.get("/models", **MODELS)
    async def models(request: Request) -> Response:
        check_access(request, server.token)
        told = [_described(model) for model in server.models.values()]
        return Answer({"models": told})

    @app.get("/health", **STATE)
    async def health() -> Response:
        return JSONResponse({"status": "alive"})

    @app.get("/ready", **STATE)
    async def ready() -> Response:
        state = "full" if server.full else "ready" if server.ready else "stopping"
        return JSONResponse({"status": state}, 200 if state == "ready" else 503)

    @app.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        check_access(request, server.token)
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")


def _described(model: ServedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "task": model.task,
        "class_names": list(model.class_names),
        "options": sorted(model.answer_options),
        "explains": model.explains,
        "attribution": model.attribution,
        "engine": model.engine,
        **model.describe(),
    }


def _add_pages(app: FastAPI) -> None:
    @app.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
    async def docs() -> Response:
        return FileResponse(PAGES / "docs.html")

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def explorer() -> Response:
        return HTMLResponse(explorer_page())

    app.mount("/", StaticFiles(directory=PAGES))
