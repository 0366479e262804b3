"""Two whole sessions and the wire between them: the world of the link machine.

`Line` has both ends (link_ends.py): a call at the server, with the worker's rules and the books, and a client with a
full ICE agent, DTLS and SRTP; and every datagram that is on its way between them. It moves none by itself: who uses it
says what arrives, when, how often, and when an end looks at its timers. A NAT stands in the way, which may choose
another address for the client without a word: what is under way to the one before is lost.

It notes when each end was told what, and holds the ends of both against that: nothing but a deadline of its own, an end
that was asked for or the other's close_notify ends either. `comes_up` is the opposite of all this: a link that loses
nothing, on which the two must find each other by their timers alone.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from fuzz.link_ends import LinkClient, LinkWorld
from fuzz.session_world import ROLES, holds_genuine, is_check
from relayd import headers
from shm.errors import MalformedPacket
from tests.bottle import RTP
from tests.link import Endpoint, Link, turned
from tests.peers import CLIENT, SERVER, flow
from transceiverd.dtls.config import DtlsConfig
from transceiverd.dtls.messages import parse_fragments
from transceiverd.dtls.records import HANDSHAKE, parse_records
from transceiverd.engine import MILLISECOND, SECOND
from transceiverd.ice import stun
from transceiverd.ice.config import IceConfig
from transceiverd.ice.controlling import ControllingConfig
from transceiverd.session import AMPLIFICATION, NO_CHANNELS, State

OUT, INTO = 0, 1  # from the client, to the client
INSIDE = flow(SERVER, CLIENT)  # the client's own name for its path
# What the server may see of it; no more than it has places for, of which none comes free before 30 s.
OUTSIDE = [flow((f"203.0.113.{place}", 50000 + place), SERVER) for place in range(4)]
NEVER = 1 << 62
ICE = IceConfig()
CONTROLLING = ControllingConfig(consent_expiry_ms=120_000)  # outlasts the server's patience: silent calls come back

# From the moment when nothing is lost any more until audio is back. ICE and DTLS repeat what was not answered after
# 1.6 s at the latest (retransmit_max_ms of both), one after the other; the rest is nomination (100 ms) and round trips.
SOON = 4 * SECOND
# What only the client's next check brings on, 6 s after the last at most (RFC 7675 5.1): an address that a NAT changed,
# consent that ran out, bytes for the next ClientHello.
AFTER_CHECK = 10 * SECOND
# A NAT changed the address in the middle of the handshake: a server that is DTLS client and has all but the last flight
# must earn its own last one anew, about 280 bytes a check.
EARNED = 30 * SECOND


class Packet(NamedTuple):
    """On its way. `key`: the client's address, as the server sees it."""

    data: bytes
    key: bytes


class Line:
    """Both ends, and what is between them. `now` is everybody's time."""

    def __init__(self, setup: str, dtls: DtlsConfig) -> None:
        self.made = self.now = SECOND
        self.world = LinkWorld(dtls)
        self.created, self.call = self.world.create(setup)
        self.client = LinkClient(self.created, ROLES[setup], now=self.now, path=INSIDE, dtls=dtls, ice=CONTROLLING)
        self.outside = OUTSIDE[0]
        self.flying: tuple[list[Packet], list[Packet]] = ([], [])
        self.past: tuple[list[Packet], list[Packet]] = ([], [])  # all that ever flew
        self._wire: tuple[set[bytes], set[bytes]] = (set(), set())
        self._messages: set[bytes] = set()  # handshake messages in the clear, as they were made
        self._dtls_timeout = dtls.handshake_timeout_ms * MILLISECOND
        self._first_check = self._last_check = NEVER
        self._answered = self.made
        self._answers: set[bytes] = set()
        self._brought: set[bytes] = set()  # audio that came to the server
        self.said_inside = 0  # application data records
        self.rebound = False
        self.hung_up = self.closed = False  # by the server's owner, by the client

    # ------------------------------------------------------------------ the wire

    def collect(self) -> None:
        """What both ends have to send is on its way; and nobody's end came before its time."""
        while (datagram := self.client.poll_datagram()) is not None:
            self._put(OUT, Packet(datagram.data, self.outside))
        while (datagram := self.world.poll_datagram()) is not None:
            self._put(INTO, Packet(datagram.data, datagram.destination))
        self.world.inbox.clear()
        self.check_ends()

    def _put(self, direction: int, packet: Packet) -> None:
        self.flying[direction].append(packet)
        self.past[direction].append(packet)
        self._wire[direction].add(packet.data)
        if packet.data[0] == HANDSHAKE:
            self._messages |= _clear_messages(packet.data)

    def arrive(self, direction: int, packet: Packet) -> None:
        """As it was sent, whenever that was."""
        self._hand_over(direction, packet)
        self.collect()

    def arrive_changed(self, direction: int, packet: Packet) -> None:
        """A copy that was changed on the way.

        DTLS 1.2 cannot tell a changed message in the clear from the true one before the Finished (transceiverd/dtls/
        handshake.py): those come only to who is done with such messages.
        """
        data, key = packet
        if not data:
            return
        if data in self._wire[direction]:
            self.arrive(direction, packet)
            return
        done = self.client.done if direction == INTO else self.call.session.store.connected_ns
        if not done and 20 <= data[0] < 64 and not _clear_messages(data) <= self._messages:
            return
        self.world.now = self.now
        if direction == OUT:
            self.world.arrive(data, key, sealed=holds_genuine(data, self._wire[OUT]))
        elif key == self.outside:
            self.client.receive(data, INSIDE, self.now)
        self.collect()

    def _hand_over(self, direction: int, packet: Packet) -> None:
        data, key = packet
        self.world.now = self.now
        if direction == OUT:
            if is_check(data) and not self.call.closing:
                self._first_check, self._last_check = min(self._first_check, self.now), self.now
            if headers.classify(*data[:2]) == RTP:
                self._brought.add(data)
            self.world.genuine(data, key)
        elif key == self.outside:
            self._note_answer(data)
            self.client.receive(data, INSIDE, self.now)

    def _note_answer(self, data: bytes) -> None:
        if data[0] < 4 and not self.client.failed:
            message = stun.parse(data)
            if message.message_class == stun.SUCCESS and message.transaction_id not in self._answers:
                self._answers.add(message.transaction_id)
                self._answered = self.now

    def past_of(self, direction: int, kind: int) -> list[Packet]:
        """All that ever flew there of a kind (RTCP is of no kind)."""
        return [packet for packet in self.past[direction] if headers.classify(*packet.data[:2]) == kind]

    # ------------------------------------------------------------------ the ends

    def server_acts(self) -> None:
        """It looks at its timers."""
        self.world.handle_timeout(self.now)
        self.collect()

    def client_acts(self) -> None:
        """It looks at its timers, and talks when it is time to."""
        self.client.handle_timeout(self.now)
        self.collect()

    def to_deadline(self, direction: int) -> None:
        """It is the time that the sender of this direction waits for."""
        timeout = self.client.next_timeout() if direction == OUT else None
        due = self.world.calls.deadlines.next() if direction == INTO else timeout and timeout.deadline
        if due is not None:
            self.now = max(self.now, due)
        if direction == OUT:
            self.client_acts()
        else:
            self.server_acts()

    def restore(self) -> None:
        """The server's process is another one."""
        record = self.call.record
        if record.connected_ns and not record.closing_ns and not record.dtls.closed:
            self.world.now = self.now
            self.call = self.world.restore(self.call)
            self.world.turn()
            self.collect()

    def hang_up(self) -> None:
        """From above, at the server."""
        self.hung_up = True
        if not self.call.closing:
            self.world.calls.close(self.call, "hangup", self.now)
        self.world.turn()
        self.collect()

    def close(self) -> None:
        """The client's close_notify."""
        self.closed = True
        self.client.dtls.close(self.now)
        self.client_acts()

    def say_inside(self) -> None:
        """Application data; the server has no use for it, and counts it."""
        if self.client.done is not None and not self.client.closed:
            self.said_inside += 1
            self.client.dtls.send(b"%d" % self.said_inside, self.now)
            self.collect()

    def rebind(self, place: int) -> None:
        """The NAT forgot the client. Not within the one transaction of a check, which is repeated under the same id:
        from another address that is a stranger's copy of it (RFC 7675's checks are new ones each)."""
        if self.client.nominated:
            self.outside = OUTSIDE[place % len(OUTSIDE)]
            self.rebound = True

    @property
    def over(self) -> bool:
        """One end is, or both."""
        return self.call.closing or bool(self.client.closed) or self.client.failed or self.closed

    # ------------------------------------------------------------------ what must hold

    def check_ends(self) -> None:
        """Nothing ended but by a deadline of its own, or because it was asked for."""
        call, client, now = self.call, self.client, self.world.now
        if call.closing:
            reason = call.session.close_reason
            assert now >= self._server_ends_at(reason), f"the server ended the call: {reason}"
        if client.closed:
            timeout = self.made + self._dtls_timeout if client.done is None else NEVER
            allowed = {"dtls timeout": timeout, "local close": 0 if self.closed else NEVER}
            allowed["close notify"] = 0 if self.hung_up else NEVER
            assert self.now >= allowed.get(client.closed, NEVER), f"the client ended the call: {client.closed}"
        if client.failed:
            given_up = self.made + CONTROLLING.give_up_ms * MILLISECOND
            expired = self._answered + CONTROLLING.consent_expiry_ms * MILLISECOND
            assert self.now >= (expired if client.nominated else given_up), "the client's agent gave up"

    def _server_ends_at(self, reason: str) -> int:
        handshake = self._first_check + self._dtls_timeout
        times = {
            "never-checked": self.made + ICE.never_checked_ms * MILLISECOND if self._first_check == NEVER else NEVER,
            "no dtls": NEVER if self.call.record.connected_ns else handshake,
            "dtls timeout": NEVER if self.call.record.connected_ns else handshake,
            "consent-expired": self._last_check + (ICE.consent_ms + ICE.silent_ms) * MILLISECOND,
            "close notify": 0 if self.closed else NEVER,
            "hangup": 0 if self.hung_up else NEVER,
        }
        return times.get(reason, NEVER)

    def check(self) -> None:
        """Between any two steps."""
        self.world.check_books()
        heard = [packet[12:] for packet in self.client.heard]
        assert set(heard) <= self.client.said, "audio that nobody sent"
        assert len(set(heard)) == len(heard), "the same words twice"
        assert self.world.counters.read()["echoed"] <= len(self._brought), "a packet was accepted twice"
        assert self.world.calls.drops[NO_CHANNELS] <= self.said_inside, "a record was accepted twice"
        if self.client.done is not None and self.call.record.connected_ns:
            done, keys = self.client.done, self.call.record.srtp
            assert done.srtp_profile == keys.profile
            assert (done.local_key, done.local_salt) == (keys.remote_key, keys.remote_salt)
            assert (done.remote_key, done.remote_salt) == (keys.local_key, keys.local_salt)

    # ------------------------------------------------------------------ and must come to be

    def _clean(self) -> Link:
        """Both ends, joined by a link that loses nothing and takes 10 ms."""

        def outward(data: bytes, _source: bytes | None, now: int) -> None:
            self.now = now
            self._hand_over(OUT, Packet(data, self.outside))

        def inward(data: bytes, source: bytes | None, now: int) -> None:
            assert source is not None
            self.now = now
            self._hand_over(INTO, Packet(data, turned(source)))

        return Link(Endpoint(self.client, inward, "client"), Endpoint(self.world, outward, "server"), start=self.now)

    def _run(self, until: Callable[[], bool], time: int) -> bool:
        """On a clean link, as long as `time` at most; whether `until` came."""

        link = self._clean()

        def looked() -> bool:
            self.now = link.now
            self.check_ends()
            return until()

        came = link.run(looked, time / SECOND)
        self.world.inbox.clear()
        return came

    def comes_up(self) -> bool:
        """Whatever was done to them: in a bounded time the call is connected and audio comes back, unless an end was
        over, or its deadline came before."""
        self.client.talking = True
        heard = len(self.client.heard)

        def up() -> bool:
            session = self.call.session
            echoed = session.state is State.CONNECTED and len(self.client.heard) >= heard + 5
            # A late check from before a NAT's change misleads control until the next one; media knows better at once.
            found = self.client.nominated and session.agent.send_target(self.now) == self.outside
            return self.over or (echoed and found)

        patience = self.patience
        came = self._run(up, patience)
        if not came and self.patience > patience:  # starved since, by ClientHellos that were lost before
            came = self._run(up, self.patience - patience)
        assert came, f"not mended in {self.patience / SECOND:.0f} s"
        self.check()
        return not self.over

    def ends(self, by_client: bool) -> None:
        """One end closes, and the other hears of it at once."""
        if by_client:
            self.close()
        else:
            self.hang_up()
        for direction in (OUT, INTO):
            for packet in self.flying[direction]:
                self.arrive(direction, packet)
        assert self.call.session.close_reason == ("close notify" if by_client else "hangup")
        assert self.client.closed == ("local close" if by_client else "close notify")

    @property
    def patience(self) -> int:
        """How long the ends may take to mend what was done to them."""
        starved = self.world.calls.drops[AMPLIFICATION] > 0
        silent = self.now - self._last_check >= ICE.consent_ms * MILLISECOND  # or will be, at the next look
        if self.rebound and not self.call.record.connected_ns:
            return EARNED
        if self.rebound or starved or silent:
            return AFTER_CHECK
        return SOON


def _clear_messages(data: bytes) -> set[bytes]:
    """The handshake messages, or pieces of them, in the clear; none of what cannot be read."""
    try:
        records = parse_records(data)
    except MalformedPacket:
        return set()
    found: set[bytes] = set()
    for record in records:
        if not record.epoch and record.content_type == HANDSHAKE:
            with suppress(MalformedPacket):
                found.update(fragment.serialize() for fragment in parse_fragments(record.body))
    return found
