"""The control thread's side of the media thread: contexts, commands, events.

Owned by the transceiver process; called under the GIL by its control thread only. A session installs a call when DTLS
has given its keys, removes it at its end, and hears what media found. No socket, loop or clock: whoever owns the loop
waits for `event_fd` to become readable and calls `poll_events`.

Rule of life of a libsrtp context: made here, used by the media thread from the command on, destroyed here after the
event that says media has let go of it (Removed; Rebuilt for the ones before). Never in between, whatever the order of
calls.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from shm.lane import Lane
from shm.session import SessionRecord, SessionSegment
from transceiverd.media import channel as ring
from transceiverd.media.channel import Channel
from transceiverd.media.engine import MediaEngine
from transceiverd.media.srtp import SrtpContext

RTCP_INDEX_MARGIN = 2
"""SRTCP indexes skipped by a rebuild: reports that media may send while the new contexts are on their way. A gap in the
index is harmless, an index used twice is not."""


class SrtpProven(NamedTuple):
    """A fresh SRTP or SRTCP packet came from this address (packed flow key); said again while it is in dispute."""

    slot: int
    generation: int
    key: bytes


class ByeReceived(NamedTuple):
    """The client sent RTCP BYE, once a call. It ends nothing by itself."""

    slot: int
    generation: int


class Installed(NamedTuple):
    """Media handles the call's packets now."""

    slot: int
    generation: int


class InstallRefused(NamedTuple):
    """The slot was taken or given out anew in between: our own mistake, and the call gets no media."""

    slot: int
    generation: int


class Removed(NamedTuple):
    """Media will not touch the slot again: it may be freed.

    `bye`: the call's last SRTCP compound, with BYE, for `key` (packed flow key). To be sent before that flow is
    withdrawn and in the same ring; b"" if none was asked for, or nothing may be sent.
    """

    slot: int
    generation: int
    bye: bytes = b""
    key: bytes = b""


class Rebuilt(NamedTuple):
    """Both libsrtp contexts were replaced by ones made from the struct alone."""

    slot: int
    generation: int


MediaEvent = SrtpProven | ByeReceived | Installed | InstallRefused | Removed | Rebuilt


_PLAIN_EVENTS: dict[int, Callable[[int, int], MediaEvent]] = {
    ring.BYE_RECEIVED: ByeReceived,
    ring.INSTALLED: Installed,
    ring.INSTALL_REFUSED: InstallRefused,
    ring.REBUILT: Rebuilt,
}


class _Contexts(NamedTuple):
    generation: int
    inbound: SrtpContext
    outbound: SrtpContext


def make_contexts(record: SessionRecord, rtcp_index_margin: int = 0) -> tuple[SrtpContext, SrtpContext]:
    """Both directions from the struct alone: (inbound, outbound).

    Rollover counters need no setting here, the media thread tells libsrtp with every packet; only streams that exist
    must exist again, and the SRTCP index must lie beyond all that were used (srtp.pyx says what that costs).
    """
    keys = record.srtp
    streams = [stream.ssrc for stream in record.streams if stream.in_use]
    inbound = SrtpContext(keys.profile, keys.remote_key, keys.remote_salt, streams=streams)
    outbound = SrtpContext(keys.profile, keys.local_key, keys.local_salt, ssrc=record.local_ssrc)
    used = max(record.media.rtcp_index_next - 1, 0)
    if used:
        outbound.advance_rtcp(used + rtcp_index_margin)
    return inbound, outbound


class MediaPort:
    """Commands to the media thread and events from it."""

    def __init__(self, sessions: SessionSegment, channel: Channel, engine: MediaEngine) -> None:
        self._sessions = sessions
        self._channel = channel
        self._engine = engine
        self._contexts: dict[int, _Contexts] = {}  # what media uses, or may use
        self._rebuilding: dict[int, _Contexts] = {}
        self._removing: set[int] = set()
        self._waiting: deque[tuple[int, int, int, SrtpContext | None, SrtpContext | None, bool]] = deque()

    @property
    def event_fd(self) -> int:
        """Readable when `poll_events` may have something."""
        return self._channel.event_fd

    def install(self, slot: int) -> None:
        """Keys are in the struct: start media for the call. `Installed` follows.

        ValueError: it is installed already, or the struct's keys do not fit its profile.
        """
        if slot in self._contexts:
            raise ValueError(f"slot {slot} is installed")
        record = self._sessions.record(slot)
        inbound, outbound = make_contexts(record)
        self._contexts[slot] = _Contexts(record.generation, inbound, outbound)
        self._send(ring.INSTALL, slot, record.generation, inbound, outbound)

    def remove(self, slot: int, *, bye: bool = False) -> None:
        """Stop media for the call; if asked, `Removed` brings a sealed RTCP BYE for us to send.

        It follows, also when it was never installed; the slot must not be freed before.
        """
        if slot in self._removing:
            return
        self._removing.add(slot)
        self._send(ring.REMOVE, slot, self._sessions.record(slot).generation, bye=bye)

    def rebuild(self, slot: int) -> None:
        """Replace both libsrtp contexts by ones made from the struct alone, between two packets. `Rebuilt` follows."""
        if slot not in self._contexts or slot in self._removing or slot in self._rebuilding:
            return
        record = self._sessions.record(slot)
        inbound, outbound = make_contexts(record, RTCP_INDEX_MARGIN)
        self._rebuilding[slot] = _Contexts(record.generation, inbound, outbound)
        self._send(ring.REBUILD, slot, record.generation, inbound, outbound)

    def add_lane(self, lane: Lane) -> None:
        """Serve one lane more; its media eventfd must be the one that the other lanes share."""
        self._send(ring.LANES, self._engine.add_lane(lane), 0)

    def poll_events(self) -> list[MediaEvent]:
        """What media reported since; also sends on what the command ring had no room for."""
        events = [self._event(*event) for event in self._channel.poll()]
        self._send_waiting()
        return [event for event in events if event is not None]

    def _event(self, kind: int, slot: int, generation: int, key: bytes, payload: bytes) -> MediaEvent | None:
        if kind == ring.SRTP_PROVEN:
            return SrtpProven(slot, generation, key)
        if kind == ring.REBUILT:
            self._contexts[slot] = self._rebuilding.pop(slot)  # the last reference to the old ones: destroyed
        elif kind == ring.REBUILD_REFUSED:
            self._rebuilding.pop(slot, None)
            self.rebuild(slot)  # a stream or a report was faster than we: make them anew
        elif kind == ring.INSTALL_REFUSED:
            self._contexts.pop(slot, None)
        elif kind == ring.REMOVED:
            self._contexts.pop(slot, None)
            self._rebuilding.pop(slot, None)
            self._removing.discard(slot)
            return Removed(slot, generation, payload, key if payload else b"")
        make = _PLAIN_EVENTS.get(kind)
        return make(slot, generation) if make else None

    def _send(
        self,
        kind: int,
        slot: int,
        generation: int,
        inbound: SrtpContext | None = None,
        outbound: SrtpContext | None = None,
        bye: bool = False,
    ) -> None:
        """In order, and never lost: bounded by three commands for each slot."""
        self._waiting.append((kind, slot, generation, inbound, outbound, bye))
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting and self._channel.send(*self._waiting[0]):
            self._waiting.popleft()


def ntp_offset_ns(wall_ns: int, monotonic_ns: int) -> int:
    """What to add to monotonic time for NTP time (RFC 3550 section 4), from both clocks read at the same moment."""
    return wall_ns - monotonic_ns + 2_208_988_800 * 1_000_000_000  # seconds from 1900 to 1970
