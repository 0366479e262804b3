"""aiortc as an echo server without codec: takes an offer by HTTP POST, sends every RTP packet back.

    python -m bench.echo.aiortc_echo PORT

Packets are taken where aiortc has authenticated, parsed and routed them, before its jitter buffer and decoder, and are
given to its DTLS transport again under the sender's SSRC. On uvloop, which makes it faster.
"""

import asyncio
import sys
from typing import Any

import aioice.ice
import uvloop
from aiohttp import web
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

PEERS: set[RTCPeerConnection] = set()


class Silence(MediaStreamTrack):
    """Keeps the sender's own loop asleep."""

    kind = "audio"

    async def recv(self) -> Any:
        """Never."""
        await asyncio.Event().wait()


def echo(peer: RTCPeerConnection) -> None:
    """Turn the receiver of a call round."""
    transceiver = peer.getTransceivers()[0]
    sender, receiver = transceiver.sender, transceiver.receiver

    async def handle(packet: Any, arrival_time_ms: int) -> None:
        packet.ssrc = sender._ssrc
        await receiver.transport._send_rtp(packet.serialize())

    receiver._handle_rtp_packet = handle  # type: ignore[method-assign]


async def call(request: web.Request) -> web.Response:
    """Offer in, answer out."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    PEERS.add(peer)

    async def changed() -> None:
        if peer.connectionState in ("failed", "closed"):
            await peer.close()
            PEERS.discard(peer)

    peer.on("connectionstatechange", changed)
    await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
    peer.addTrack(Silence())
    echo(peer)
    await peer.setLocalDescription(await peer.createAnswer())
    headers = {"Location": "/calls/0"}
    return web.Response(status=201, text=peer.localDescription.sdp, content_type="application/sdp", headers=headers)


def main() -> None:
    """Until killed."""
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]  # it leaves loopback out
    uvloop.install()
    app = web.Application()
    app.router.add_post("/{path:.*}", call)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)


if __name__ == "__main__":
    main()
