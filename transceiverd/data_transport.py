"""One call's data channels between its DTLS association and its application: budget, share of memory, write-ahead.

Owned by the session, which feeds it what DTLS delivers and time, and asks after every turn what is to be kept *before*
what was sent in it leaves. Sans-I/O.

**What is kept, and when** (DESIGN 2.13). Nothing outside knows what happened in here until a packet leaves. So the
state is written when a turn has sent something, and only then: a message that is not acknowledged comes again, a SACK
that was not kept means that something is sent twice, which the peer drops as a duplicate. Whatever leaves is in the
state that was written before. An idle call writes nothing.

**State that does not fit.** The blob has some 5 kB for it; a bulk transfer has up to `receive_buffer_bytes` +
`send_buffer_bytes` under way. Nothing smaller would do: a message is acknowledged before it is complete, so it must
be kept whole or be lost. A state that is too large is therefore not kept at all, and an old one would be worse than
none: its TSNs would stand for two things. So the blob says, once for each such stretch, that the state is out of
reach, with the ports and the peer's tag; whoever rebuilds the call aborts the association properly (the peer's
channels close at once and say why), and audio goes on. A bulk transfer pays nothing but a look at `save_cost()`
each turn; when the state fits again it is written, with or without a packet to send.
"""

from collections.abc import Callable

import msgspec

from transceiverd.echo_channels import TOO_LONG, EchoChannels, HeldMessage
from transceiverd.engine import MILLISECOND, Drops, Timeout
from transceiverd.sctp.association import Association
from transceiverd.sctp.buffers import SharedBuffers
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.initiation import RandomBytes
from transceiverd.sdp.negotiation import Negotiation

DATA_BUDGET = 32  # SCTP packets sent in one go, about 38 kB: 1 ms; the rest waits for the next turn
LOOK_AGAIN = 100 * MILLISECOND  # how soon an association that was short of shared memory asks for more
NOT_KEPT = "sctp-state-not-kept"  # stretches in which the state was too large for the blob
STATE_LOST = "sctp-state-lost"  # associations aborted because of that when their call was rebuilt
DROP_REASONS = (NOT_KEPT, STATE_LOST, TOO_LONG)


class KeptChannels(msgspec.Struct, array_like=True):
    """`association`: `Association.save`; empty: too large to be kept."""

    association: bytes
    peer_tag: int
    echoed: int
    held: HeldMessage | None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(KeptChannels)


class DataTransport:
    """`beyond`: the state is too large to be kept."""

    __slots__ = ("_buffers", "_due", "_failed_cost", "_held", "_look_at", "_moved", "beyond", "channels", "drops")

    def __init__(self, channels: EchoChannels, buffers: SharedBuffers, drops: Drops) -> None:
        self.channels = channels
        self.drops = drops
        self.beyond = False
        self._buffers = buffers
        self._held = 0  # what `buffers` believes that we hold
        self._due: int | None = None  # the budget ran out: the next turn goes on
        self._look_at: int | None = None
        self._moved = False  # something left since the state was kept
        self._failed_cost = 0

    # ------------------------------------------------------------------ in

    def start(self, now: int) -> None:
        """DTLS is up."""
        self.channels.association.start(now)
        self._moved = True  # a handshake that the SDP carried (SNAP) sends nothing

    def receive(self, packet: bytes, now: int) -> None:
        """One SCTP packet."""
        association = self.channels.association
        association.allow(self._buffers.allowance(self) - self.channels.held_bytes())
        association.receive_datagram(packet, now)

    def handle_timeout(self, now: int) -> None:
        """Do all that is due."""
        self.channels.association.handle_timeout(now)

    def close(self) -> None:
        """The call is over: what it holds will be freed."""
        self._buffers.forget(self, self._held)
        self._held = 0

    # ------------------------------------------------------------------ out

    def next_timeout(self) -> Timeout | None:
        """The earliest deadline."""
        found = [self.channels.association.next_timeout()]
        found += [Timeout(at, "data") for at in (self._due, self._look_at) if at is not None]
        return min((timeout for timeout in found if timeout is not None), default=None)

    def work(self, send: Callable[[bytes, int], None], now: int) -> None:
        """Application and association in turn, until neither has more to do or the budget is spent."""
        self._due = None
        channels = self.channels
        self._share(now)
        channels.work(now)
        for _ in range(DATA_BUDGET):
            packet = channels.association.poll_datagram()
            if packet is None:
                break
            self._moved = True
            send(packet, now)
            channels.work(now)
        else:
            self._due = now + 1  # after this moment: everybody else's turn comes first
        self._account()

    def _account(self) -> None:
        held = self.channels.association.held() + self.channels.held_bytes()
        if held != self._held:
            self._buffers.change(self, self._held, held)
            self._held = held

    def _share(self, now: int) -> None:
        """Short of shared memory: look now and then whether there is more, and tell the peer."""
        reception = self.channels.association.reception
        if reception is None or not reception.starved:
            self._look_at = None
            return
        self._account()
        self._buffers.starved(self, now)
        self.channels.association.allow(self._buffers.allowance(self) - self.channels.held_bytes())
        reception.reopen()
        self._look_at = now + LOOK_AGAIN if reception.starved else None

    # ------------------------------------------------------------------ kept outside

    def keep(self, room: int) -> bytes | None:
        """At most `room` bytes to be kept before what was sent leaves; None: what is kept already will do."""
        if not self._moved and not self.beyond:
            return None
        self._moved = False
        association, channels = self.channels.association, self.channels
        cost = association.save_cost() + channels.held_bytes()
        if self.beyond and cost >= self._failed_cost:
            return None
        if cost <= 2 * room:  # a bound: the state itself may be half of that
            data = self._encode(association.save(), channels.held)
            if len(data) <= room:
                self.beyond = False
                return data
        self._failed_cost = cost
        if self.beyond:
            return None
        self.beyond = True
        self.drops[NOT_KEPT] += 1
        return self._encode(b"", None)

    def _encode(self, association: bytes, held: HeldMessage | None) -> bytes:
        channels = self.channels
        return _encoder.encode(KeptChannels(association, channels.association.peer_tag, channels.echoed, held))

    @classmethod
    def restore(
        cls,
        data: bytes,
        negotiation: Negotiation,
        config: DataChannelConfig,
        buffers: SharedBuffers,
        *,
        now: int,
        random_bytes: RandomBytes,
        drops: Drops,
    ) -> "DataTransport":
        """Goes on where `keep` was called. Raises ValueError when that was not this release."""
        try:
            kept = _decoder.decode(data)
        except msgspec.MsgspecError as error:
            raise ValueError("not kept channels") from error
        if kept.association:
            association = Association.restore(kept.association, config, now=now, random_bytes=random_bytes, drops=drops)
        else:
            association = _lost(kept.peer_tag, negotiation, config, now, random_bytes, drops)
        channels = EchoChannels(association)
        channels.held, channels.echoed = kept.held, kept.echoed
        transport = cls(channels, buffers, drops)
        transport._account()
        return transport


def make_association(
    negotiation: Negotiation,
    config: DataChannelConfig,
    now: int,
    random_bytes: RandomBytes,
    drops: Drops,
    sctp_init: bytes | None,
) -> Association:
    """A new association for what was negotiated. `sctp_init`: our INIT chunk, if the answer carries it."""
    data = negotiation.data
    assert data is not None
    return Association(
        config,
        local_port=data.local_port,
        remote_port=data.remote_port,
        dtls_role=negotiation.dtls_role,
        remote_max_message_size=data.remote_max_message_size,
        now=now,
        random_bytes=random_bytes,
        drops=drops,
        local_init=sctp_init,
        remote_init=None if sctp_init is None else data.remote_init,
    )


def _lost(
    peer_tag: int,
    negotiation: Negotiation,
    config: DataChannelConfig,
    now: int,
    random_bytes: RandomBytes,
    drops: Drops,
) -> Association:
    """The end of an association whose state is gone: an ABORT, and one more for whatever the peer still sends."""
    drops[STATE_LOST] += 1
    association = make_association(negotiation, config, now, random_bytes, drops, None)
    association.peer_tag = peer_tag
    association.abort(now, STATE_LOST)
    return association
