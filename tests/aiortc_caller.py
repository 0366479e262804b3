"""A caller made of aiortc: sends a tone of its own, listens for what comes back, measures it.

The tone is found again with a Fourier transform, so a test that hears nothing, noise or somebody else's tone fails.
"""

import asyncio
import fractions
import time
from dataclasses import dataclass, field

import aiohttp
import av
import numpy
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

SAMPLE_RATE = 48_000
SAMPLES = 960  # 20 ms


class ToneTrack(MediaStreamTrack):
    """A sine of `hertz`, in real time."""

    kind = "audio"

    def __init__(self, hertz: float) -> None:
        super().__init__()
        self._hertz = hertz
        self._sent = 0
        self._start = 0.0

    async def recv(self) -> av.AudioFrame:
        """The next 20 ms."""
        if not self._start:
            self._start = time.monotonic()
        wait = self._start + self._sent / SAMPLE_RATE - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        times = (numpy.arange(SAMPLES) + self._sent) / SAMPLE_RATE
        wave = (12_000 * numpy.sin(2 * numpy.pi * self._hertz * times)).astype(numpy.int16)
        frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, self._sent, fractions.Fraction(1, SAMPLE_RATE)
        self._sent += SAMPLES
        return frame


@dataclass
class Caller:
    """One call."""

    url: str
    hertz: float = 440.0
    channels: tuple[str, ...] = ()
    heard: list[numpy.ndarray] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    location: str = ""

    async def call(self) -> None:
        """Offer, answer, connect; raises when the server refuses or ICE or DTLS fail."""
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.peer.addTrack(ToneTrack(self.hertz))
        self.data = [self.peer.createDataChannel(label) for label in self.channels]
        self.connected = asyncio.Event()
        self.ended = asyncio.Event()
        self.peer.on("connectionstatechange", self._state_changed)
        self.peer.on("track", self._listen)
        await self.peer.setLocalDescription(await self.peer.createOffer())
        async with aiohttp.ClientSession() as http:
            reply = await http.post(
                self.url, data=self.peer.localDescription.sdp, headers={"Content-Type": "application/sdp"}
            )
            answer = await reply.text()
            assert reply.status == 201, (reply.status, answer)
            self.location = reply.headers["Location"]
        await self.peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def await_connected(self, seconds: float = 10.0) -> None:
        """Until ICE and DTLS are done."""
        await asyncio.wait_for(self.connected.wait(), seconds)

    async def close(self) -> None:
        """Hang up."""
        await self.peer.close()

    def loudest(self, frames: int = 25) -> float:
        """The strongest frequency, in Hz, of the last half second heard; 0 when too little was heard."""
        if len(self.heard) < frames:
            return 0.0
        samples = numpy.concatenate(self.heard[-frames:])
        spectrum = numpy.abs(numpy.fft.rfft(samples * numpy.hanning(len(samples))))
        return float(numpy.argmax(spectrum) * SAMPLE_RATE / len(samples))

    def _state_changed(self) -> None:
        state = self.peer.connectionState
        self.states.append(state)
        if state == "connected":
            self.connected.set()
        elif state in ("closed", "failed"):
            self.ended.set()

    def _listen(self, track: MediaStreamTrack) -> None:
        self._task = asyncio.ensure_future(self._hear(track))

    async def _hear(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            samples = frame.to_ndarray().reshape(-1)
            channels = len(frame.layout.channels)
            self.heard.append(samples.reshape(-1, channels)[:, 0].astype(numpy.float64))
