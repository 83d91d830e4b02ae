"""Fixtures of the tests of the server: it runs in this process, without sockets."""

import asyncio
from contextlib import asynccontextmanager
from io import BytesIO

import httpx
import pytest

from nommer.models.storage import save_model
from nommer.serving.app import Server, create_app
from nommer.serving.models import open_models
from nommer.settings.serve import ServeSettings


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, tiny_classifier):
    """A micro classifier on disk."""
    folder = tmp_path_factory.mktemp("served") / "colours"
    save_model(folder, tiny_classifier(), metrics={}, version="0")
    return folder


@pytest.fixture(scope="session")
def models(model_folder):
    """The same, loaded; to be read only."""
    return open_models([str(model_folder)], threads=1, device="cpu")


@pytest.fixture
def talk(models):
    """Start a server with these settings, and run a function of a client that asks it."""

    @asynccontextmanager
    async def started(served, token, settings):
        server = Server(ServeSettings(("m",), **settings), served, token)
        app = create_app(server)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                client.server = server
                yield client

    def talk(ask, *, served=models, token=None, **settings):
        async def run():
            async with started(served, token, settings) as client:
                return await ask(client)

        return asyncio.run(run())

    return talk


@pytest.fixture(scope="session")
def photo(noisy):
    """The bytes of a PNG of a colour and a size."""

    def photo(colour=(200, 60, 60), size=(48, 40)):
        content = BytesIO()
        noisy(colour, size=size).save(content, "PNG")
        return content.getvalue()

    return photo
