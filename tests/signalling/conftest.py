"""One way to run an application against aiohttp's test client without a plugin: `serve(app, scenario)`."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.signalling.local_router import LocalRouter

Scenario = Callable[[TestClient[web.Request, web.Application]], Awaitable[None]]


@pytest.fixture
def router() -> LocalRouter:
    """A router without calls."""
    return LocalRouter()


def serve(app: web.Application, scenario: Scenario) -> None:
    """Run `scenario` against the application on a free port of loopback."""

    async def run() -> None:
        async with TestClient(TestServer(app, host="127.0.0.1")) as client:
            await scenario(client)

    asyncio.run(run())
