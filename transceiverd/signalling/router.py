"""What signalling asks of the rest of transceiverd: the `CallRouter` protocol and the values that cross it.

The real router talks to transceivers over process links; tests use a small one in their own process. Every method may
raise `RouterError`. A call that ended stays known to `snapshot` for a while (a minute is enough), because the page asks
why it failed after it failed.
"""

from collections.abc import AsyncIterator
from typing import Literal, NamedTuple, Protocol

import msgspec

from transceiverd.sdp.negotiation import Negotiation


class RouterError(Exception):
    """No answer to a request, for a reason that is not the client's offer."""

    status = 503

    def __init__(self, code: str, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
        """Seconds after which it makes sense to ask again."""


class Unavailable(RouterError):
    """No transceiver, no relay, or no reply in time: HTTP 503."""


class LimitReached(RouterError):
    """A limit of this server, this client or this token: HTTP 429."""

    status = 429


class CallContext(NamedTuple):
    """Who asks for a call, and how."""

    client_address: str
    """Where the HTTP request came from; behind a proxy the proxy's."""
    dialect: Literal["realtime", "whip"]
    session: bytes = b""
    """The `session` part of the request: a JSON object as sent, or nothing."""
    owner: str = ""
    """Which token (`auth.owner_of`); empty where none is asked for. Only the same one may see and end the call."""
    counted: str = ""
    """The name under which calls of this address are counted; empty: they are not."""


class Created(NamedTuple):
    """A call that may now be checked."""

    call_id: str
    answer_sdp: str


class Readiness(NamedTuple):
    """Whether a call made now could succeed; if not, why, in words without secrets."""

    ready: bool
    reasons: tuple[str, ...] = ()
    retry_after: int = 1
    """Seconds after which it makes sense to ask again; a transceiver that died is back well within one."""


class AddressSeen(msgspec.Struct, frozen=True, kw_only=True):
    """An address of the client that passed a check (DESIGN 2.4)."""

    client: str
    """`address:port`, IPv6 in brackets."""
    local: str
    """Our address that it wrote to."""
    proven: bool = False
    nominated: bool = False
    bytes_received: int = 0
    bytes_sent: int = 0


class CallSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known about one call. Made from a transceiver's reply with `msgspec.convert`."""

    call_id: str
    state: str
    """`new`, `checked`, `connected`, `silent`, `closing` or `closed`."""
    age_ms: float
    """Since the answer; of an ended call: its whole life."""
    phases: dict[str, float | None] = {}
    """`phases.NAMES`: milliseconds after the answer, None where the step was not reached."""
    addresses: list[AddressSeen] = []
    closed_reason: str | None = None
    transceiver: int = 0
    dialect: str = "realtime"
    client_address: str = ""
    """Where the offer came from over HTTP."""
    owner: str = ""
    """See `CallContext.owner`."""
    answered_addresses: list[str] = []
    """The addresses of our candidates."""
    answered_port: int = 0
    candidates_offered: int = 0
    dtls: dict[str, str | int | None] = {}
    media: dict[str, float | None] = {}
    drops: dict[str, int] = {}


class Sample(NamedTuple):
    """One value of a metric."""

    labels: dict[str, str]
    value: float


class Metric(NamedTuple):
    """One Prometheus metric family. A counter's name is written without `_total`."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: list[Sample]


class CallRouter(Protocol):
    """The rest of transceiverd, seen from signalling."""

    async def create(self, negotiation: Negotiation, context: CallContext) -> Created:
        """Open a call on a transceiver with room."""

    async def hangup(self, call_id: str, owner: str | None) -> bool:
        """End a call with BYE and close_notify; False: there is no such call, or no more, or it is another owner's.
        Owner `None` may end any."""

    async def snapshot(self, call_id: str) -> CallSnapshot | None:
        """What is known of a call that lives or ended a short while ago."""

    def sessions(self) -> AsyncIterator[bytes]:
        """All live calls: JSON arrays of `CallSnapshot`, a page each. A page may be all that there are."""

    async def ready(self) -> Readiness:
        """Whether transceivers are up and attached to the relay."""

    async def metrics(self) -> list[Metric]:
        """Counters and gauges of all processes."""
