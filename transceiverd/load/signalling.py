"""Placing and ending calls over HTTP: `/v1/realtime/calls` and WHIP (RFC 9725), which ask for the same.

Called by the fleet, one client for all calls. A refusal that says when to come again (429, 503 with Retry-After) is
obeyed for as long as the plan allows and counted as paced; everything else is a failure with a short fixed reason.
"""

import asyncio
import time
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import aiohttp

CALLS = "/v1/realtime/calls"
PACED_STATUS = (429, 503)
RETRY_SECONDS = 1.0  # when Retry-After is missing or is a date
RETRY_SECONDS_MAX = 30.0
CONNECTIONS = 256  # at once; more calls than that wait for one
ERROR_BYTES = 2048


class CallRefused(RuntimeError):
    """No call; the message is the reason to count."""


class Placed(NamedTuple):
    """An answer."""

    sdp: str
    location: str
    attempts: int


class Dialer:
    """The HTTP client. `url`: the server, or the whole URL that offers go to."""

    def __init__(self, url: str, token: str, patience_seconds: float) -> None:
        parts = urlsplit(url)
        self.url = url if parts.path.strip("/") else urljoin(url, CALLS)
        self.paced = 0
        """Requests that were told to come again later."""
        self._headers = {"Content-Type": "application/sdp"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._patience_seconds = patience_seconds
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Dialer":
        timeout = aiohttp.ClientTimeout(total=self._patience_seconds)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS), timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def place(self, offer: str) -> Placed:
        """Raises CallRefused."""
        deadline = time.monotonic() + self._patience_seconds
        attempts = 0
        while True:
            attempts += 1
            try:
                wait = await self._post(offer, attempts)
            except TimeoutError:
                raise CallRefused("http: no reply in time") from None
            except aiohttp.ClientError as error:
                raise CallRefused(f"http: {type(error).__name__}") from None
            if isinstance(wait, Placed):
                return wait
            if time.monotonic() + wait > deadline:
                raise CallRefused("http: paced for too long")
            self.paced += 1
            await asyncio.sleep(wait)

    async def _post(self, offer: str, attempts: int) -> Placed | float:
        """An answer, or the seconds to wait."""
        assert self._session is not None
        async with self._session.post(self.url, data=offer, headers=self._headers) as reply:
            if reply.status == 201:
                return Placed(await reply.text(), urljoin(self.url, reply.headers.get("Location", "")), attempts)
            if reply.status in PACED_STATUS and "Retry-After" in reply.headers:
                return _retry_seconds(reply.headers["Retry-After"])
            text = (await reply.content.read(ERROR_BYTES)).decode("utf-8", "replace")
            raise CallRefused(f"http {reply.status}{_code(text)}")

    async def end(self, location: str) -> None:
        """WHIP's way (RFC 9725 4.2), which the call API understands too. A server that minds is not our business."""
        assert self._session is not None
        try:
            async with self._session.delete(location, headers=self._headers):
                pass
        except (aiohttp.ClientError, TimeoutError):
            return


def _retry_seconds(text: str) -> float:
    return min(float(text), RETRY_SECONDS_MAX) if text.strip().isdigit() else RETRY_SECONDS


def _code(text: str) -> str:
    """The error's code, if it is written as ours are; a peer's text never goes further than this."""
    _, found, rest = text.partition('"code":')
    code = rest.strip().strip('"').partition('"')[0]
    return f" {code}" if found and code.isidentifier() and len(code) < 40 else ""
