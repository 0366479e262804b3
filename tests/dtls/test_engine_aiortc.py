"""aiortc's DTLS transport, which browsers' stacks are tested with, talks to our engine in both roles.

aiortc is asyncio, so this one test runs on a loop; the link between is memory, and our engine's `now` is counted up.
"""

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport

from tests.dtls.peers import EnginePeer, context
from transceiverd.dtls import ApplicationDataReceived, Role
from transceiverd.engine import MILLISECOND


class MemoryTransport:
    """What RTCDtlsTransport uses of an ICE transport."""

    state = "completed"

    def __init__(self, role: str) -> None:
        self.role = role
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.outbox: list[bytes] = []
        self.written = asyncio.Event()

    async def _recv(self) -> bytes:
        return await self.inbox.get()

    async def _send(self, data: bytes) -> None:
        self.outbox.append(data)
        self.written.set()


class Receiver:
    """What RTCDtlsTransport hands application data to."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.arrived = asyncio.Event()

    async def _handle_data(self, data: bytes) -> None:
        self.data.append(data)
        self.arrived.set()

    def _handle_disconnect(self) -> None:
        pass


class Call:
    """Our engine and aiortc's transport, joined by memory."""

    def __init__(self, role: Role) -> None:
        certificate = RTCCertificate.generateCertificate()
        # Without SDP, aiortc takes the DTLS role from the ICE role: controlling is server.
        self.ice = MemoryTransport("controlling" if role == Role.CLIENT else "controlled")
        self.transport = RTCDtlsTransport(self.ice, [certificate])
        self.receiver = Receiver()
        self.transport._register_data_receiver(self.receiver)
        self.ours = EnginePeer(role, [(offered.algorithm, offered.value) for offered in certificate.getFingerprints()])
        self.now = 0
        self.changed = asyncio.Event()

    async def pump(self) -> None:
        """Carry datagrams both ways for ever."""
        while True:
            for datagram in self.ours.datagrams():
                self.ice.inbox.put_nowait(datagram)
            self.changed.set()
            await self.ice.written.wait()
            self.ice.written.clear()
            self.now += MILLISECOND
            while self.ice.outbox:
                self.ours.receive(self.ice.outbox.pop(0), self.now)

    async def until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 10)

    async def run(self) -> None:
        self.ours.start(0)
        pumping = asyncio.create_task(self.pump())
        algorithm, value = str(context("ours").fingerprint()).split()
        fingerprint = RTCDtlsFingerprint(algorithm=algorithm, value=value)
        await asyncio.wait_for(self.transport.start(RTCDtlsParameters(fingerprints=[fingerprint])), 10)
        assert self.transport.state == "connected"
        await self.transport._send_data(b"from aiortc")
        await self.until(lambda: bool(self.ours.of(ApplicationDataReceived)))
        self.ours.engine.send(b"from us", self.now)
        self.ice.written.set()
        await asyncio.wait_for(self.receiver.arrived.wait(), 10)
        await self.transport.stop()
        await self.until(lambda: self.ours.closed is not None)
        pumping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pumping


@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
def test_engine_talks_to_aiortc(role: Role) -> None:
    async def run() -> Call:
        call = Call(role)
        await call.run()
        return call

    call = asyncio.run(run())
    assert call.ours.completed is not None
    assert call.ours.completed.srtp_profile in (0x0007, 0x0008)
    assert call.ours.of(ApplicationDataReceived) == [ApplicationDataReceived(b"from aiortc")]
    assert call.receiver.data == [b"from us"]
    assert call.ours.closed == "close notify"
