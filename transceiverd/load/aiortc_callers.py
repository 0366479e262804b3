"""The share of a load run's calls that aiortc places (`--mix`), so that a bug which both our ends share shows.

Imported only when asked for: aiortc is an optional extra. Its callers send ready-made Opus packets (silence), so that
no time goes into encoding; aiortc still decodes what comes back. They are counted apart from our own fleet: aiortc's
own statistics say what came back.
"""

import asyncio
import fractions
from types import TracebackType
from typing import Any

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from transceiverd.load.plan import Plan
from transceiverd.load.signalling import CallRefused, Dialer

FRAME = b"\xf8\xff\xfe"  # RFC 6716: 20 ms of silence, CELT fullband mono
FRAME_SECONDS = 0.02
FRAME_UNITS = 960  # of 48 kHz


class PacketTrack(MediaStreamTrack):
    """Encoded silence, 50 packets a second."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._sent = 0
        self._start = 0.0

    async def recv(self) -> "av.Packet[Any]":
        """The next 20 ms."""
        loop = asyncio.get_running_loop()
        self._start = self._start or loop.time()
        await asyncio.sleep(max(0.0, self._start + self._sent * FRAME_SECONDS - loop.time()))
        packet = av.Packet(FRAME)
        packet.pts = packet.dts = self._sent * FRAME_UNITS
        packet.time_base = fractions.Fraction(1, 48_000)
        self._sent += 1
        return packet


class AiortcCallers:
    """All of them. Use it as an asynchronous context."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._dialer = Dialer(plan.url, plan.token, plan.patience_seconds)
        self._peers: list[RTCPeerConnection] = []
        self._asked = self._connected = 0
        self._failed: dict[str, int] = {}
        self._sent = self._received = 0

    async def __aenter__(self) -> "AiortcCallers":
        await self._dialer.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for peer in self._peers:
            await self._count(peer)
        await asyncio.gather(*(peer.close() for peer in self._peers))
        await self._dialer.__aexit__(kind, error, trace)

    async def dial(self, count: int, rate: float) -> None:
        """Place the calls; returns when each is connected or failed."""
        tasks = []
        for _ in range(count):
            tasks.append(asyncio.create_task(self._place()))
            await asyncio.sleep(1 / rate)
        await asyncio.gather(*tasks)

    def summary(self) -> dict[str, Any]:
        """For the report; packets are known once the context has ended."""
        return {
            "asked": self._asked,
            "connected": self._connected,
            "failed": self._failed,
            "sent": self._sent,
            "received": self._received,
        }

    async def _place(self) -> None:
        self._asked += 1
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._peers.append(peer)
        connected = asyncio.Event()
        peer.on("connectionstatechange", lambda: connected.set() if peer.connectionState == "connected" else None)
        if not self._plan.silent:
            peer.addTrack(PacketTrack())
        else:
            peer.addTransceiver("audio")
        try:
            await peer.setLocalDescription(await peer.createOffer())
            placed = await self._dialer.place(peer.localDescription.sdp)
            await peer.setRemoteDescription(RTCSessionDescription(placed.sdp, "answer"))
            await asyncio.wait_for(connected.wait(), self._plan.patience_seconds)
        except (CallRefused, TimeoutError, ValueError) as error:
            reason = str(error) or f"aiortc: {peer.connectionState} in time"
            self._failed[reason] = self._failed.get(reason, 0) + 1
            return
        self._connected += 1

    async def _count(self, peer: RTCPeerConnection) -> None:
        for report in (await peer.getStats()).values():
            self._sent += report.packetsSent if report.type == "outbound-rtp" else 0
            self._received += report.packetsReceived if report.type == "inbound-rtp" else 0
