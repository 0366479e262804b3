"""A caller on a real UDP socket made of the bottle's client: lighter than aiortc, and a test can misuse it.

One thread, no event loop: `run(until)` moves packets and time until something is true. Several callers may share one
socket, as a page does that is loaded again on the same port.
"""

import re
import select
import socket
import time
import urllib.request
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from shm.flowkey import TRANSPORT_UDP, FlowKey
from tests.bottle import CLIENT_CONTEXT, CLIENT_PASSWORD, CLIENT_UFRAG, OPUS, Client, fingerprints
from tests.data_client import DataClient
from transceiverd.calls import Created
from transceiverd.dtls.engine import Role
from transceiverd.ice.controlling import ControllingConfig
from transceiverd.sdp.offer import Fingerprint

OFFER = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
m=audio 9 UDP/TLS/RTP/SAVPF {opus}
c=IN IP4 0.0.0.0
a=mid:0
a=sendrecv
a=rtcp-mux
a=rtpmap:{opus} opus/48000/2
a=ice-ufrag:{ufrag}
a=ice-pwd:{password}
a=fingerprint:{fingerprint}
a=setup:{setup}
"""
DATA = """m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:1
a=sctp-port:5000
a=max-message-size:262144
"""


BINDING_SUCCESS = b"\x01\x01"  # RFC 8489 5


def udp_socket() -> socket.socket:
    """On loopback, at a free port."""
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind(("127.0.0.1", 0))
    end.setblocking(False)
    return end


class UdpCaller:
    """One call over `end`."""

    def __init__(
        self,
        calls_url: str,
        end: socket.socket | None = None,
        *,
        setup: str = "actpass",
        seed: int = 1,
        data: bool = False,
        fingerprint: str = "",
        ice: ControllingConfig | None = None,
    ) -> None:
        """`data`: with data channels; the client is then a `DataClient`."""
        self.end = end or udp_socket()
        offer = OFFER.format(
            opus=OPUS, ufrag=CLIENT_UFRAG, password=CLIENT_PASSWORD, setup=setup,
            fingerprint=fingerprint or fingerprints(CLIENT_CONTEXT)[0],
        )  # fmt: skip
        if data:
            body = offer.partition("m=audio")[2].partition("a=ice-ufrag")[2]
            offer = offer.replace("BUNDLE 0", "BUNDLE 0 1") + DATA + "a=ice-ufrag" + body
        request = urllib.request.Request(
            calls_url, offer.replace("\n", "\r\n").encode(), {"Content-Type": "application/sdp"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            self.answer = reply.read().decode()
            self.location = reply.headers["Location"]
        ufrag, password, port = (
            re.search(pattern, self.answer, re.M)[1]  # type: ignore[index]
            for pattern in (r"^a=ice-ufrag:(\S+)", r"^a=ice-pwd:(\S+)", r"^a=candidate:.* 127\.0\.0\.1 (\d+) typ host")
        )
        self.server = ("127.0.0.1", int(port))
        created = Created("", ufrag, password, 0, "")
        fingerprint = Fingerprint(*re.search(r"^a=fingerprint:(\S+) (\S+)", self.answer, re.M).groups())  # type: ignore[union-attr]
        role = Role.SERVER if "a=setup:active" in self.answer else Role.CLIENT
        kind = DataClient if data else Client
        self.client: Any = kind(
            created, role, seed=seed, now=time.monotonic_ns(), path=self._key(), server=(fingerprint,), ice=ice
        )
        self.checks_answered = 0
        self._first = self.client.sequence

    def _key(self) -> bytes:
        own = self.end.getsockname()
        server = self.server
        return FlowKey(TRANSPORT_UDP, ip_address(server[0]), server[1], ip_address(own[0]), own[1]).pack()

    @property
    def call_id(self) -> str:
        """As in the Location."""
        return str(self.location).rpartition("/")[2]

    def __enter__(self) -> "UdpCaller":
        return self

    def __exit__(self, *_: object) -> None:
        self.end.close()

    def step(self, wait_seconds: float = 0.005) -> None:
        """Send what is due, receive what is there."""
        now = time.monotonic_ns()
        timeout = self.client.next_timeout()
        if timeout is not None and timeout.deadline <= now:
            self.client.handle_timeout(now)
        self.client.now = now
        while (datagram := self.client.poll_datagram()) is not None:
            self.end.sendto(datagram.data, self.server)
        if select.select([self.end], [], [], wait_seconds)[0]:
            data, _ = self.end.recvfrom(2048)
            self.checks_answered += data[:2] == BINDING_SUCCESS
            self.client.receive(data, self.client.path, time.monotonic_ns())

    def run(self, until: Callable[[], object], seconds: float = 10.0) -> bool:
        """Until it is true, or time is over; gives what it then is."""
        deadline = time.monotonic() + seconds
        while not until() and time.monotonic() < deadline:
            self.step()
        return bool(until())

    def lost(self) -> int:
        """Stop talking, wait for what is on the way, and give how many of the packets sent never came back."""
        self.client.talking = False
        self.run(lambda: len(self.client.heard) >= self.sent, 2)
        return self.sent - len(self.client.heard)

    @property
    def sent(self) -> int:
        """Audio packets so far."""
        return (self.client.sequence - self._first) & 0xFFFF

    def connect(self, seconds: float = 10.0) -> None:
        """Until DTLS is done and ten packets came back."""
        self.client.talking = True
        assert self.run(lambda: len(self.client.heard) >= 10, seconds), (self.client.done, self.client.closed)
