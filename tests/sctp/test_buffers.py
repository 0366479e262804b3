"""What associations of one process hold together is bounded, shared out fairly, and ends nobody.

Calls here are a client association and the product's `DataTransport` with its echo, joined without a wire; they share
one `SharedBuffers`.
"""

import pytest

from tests.bottle import Bottle
from tests.data_client import data_negotiation
from tests.sctp.peers import PORT, association, established, messages
from transceiverd.data_transport import DataTransport
from transceiverd.dtls.config import DtlsConfig
from transceiverd.echo_channels import EchoChannels
from transceiverd.engine import MILLISECOND, SECOND, Closed, Drops
from transceiverd.ice.config import IceConfig
from transceiverd.sctp import chunks
from transceiverd.sctp.buffers import FLOOR, PATIENCE, SharedBuffers
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.events import MessageReceived
from transceiverd.sctp.packet import parse_packet, serialize_packet
from transceiverd.sctp.reception import Reception

LONGEST = 262_144
TICK = 10 * MILLISECOND


class Exchange:
    """Some calls and a clock."""

    def __init__(self, calls: int, limit: int) -> None:
        self.now = SECOND
        self.buffers = SharedBuffers(limit)
        self.drops = Drops()
        self.clients = [association("client", 2 * place) for place in range(calls)]
        self.calls = [
            DataTransport(
                EchoChannels(association("server", 2 * place + 1, drops=self.drops)), self.buffers, self.drops
            )
            for place in range(calls)
        ]
        self.got: list[list[bytes]] = [[] for _ in range(calls)]
        self.ended: set[int] = set()
        self.stopped: set[int] = set()  # clients that acknowledge, and send no more of what they began
        self.most = 0
        for client, call in zip(self.clients, self.calls, strict=True):
            client.start(self.now)
            call.start(self.now)
        self.run(10)

    def run(self, ticks: int) -> None:
        """Let time pass."""
        for _ in range(ticks):
            self.now += TICK
            for place in range(len(self.calls)):
                self._turn(place)

    def _turn(self, place: int) -> None:
        client, call = self.clients[place], self.calls[place]
        client.handle_timeout(self.now)
        call.handle_timeout(self.now)
        for _ in range(8):
            sent: list[bytes] = []
            call.work(lambda packet, _now, sent=sent: sent.append(packet), self.now)  # type: ignore[misc]
            self.most = max(self.most, self.buffers.used)
            for packet in sent:
                client.receive_datagram(packet, self.now)
            while (event := client.poll_event()) is not None:
                if isinstance(event, MessageReceived):
                    self.got[place].append(event.data)
                elif isinstance(event, Closed):
                    self.ended.add(place)
            while place not in self.stopped and (packet := client.poll_datagram()) is not None:
                call.receive(packet, self.now)


def test_buffers_leave_a_newcomer_as_much_as_each_of_those_that_are_there() -> None:
    buffers = SharedBuffers(12_000_000)
    held = dict.fromkeys(range(5), 0)
    for _ in range(200):
        for who in held:
            after = max(held[who], min(held[who] + 50_000, buffers.allowance(who)))
            buffers.change(who, held[who], after)
            held[who] = after
    assert all(1_900_000 < each <= 2_050_000 for each in held.values()), held
    assert 1_900_000 < buffers.allowance("a newcomer") <= 2_050_000


def test_buffers_favour_one_at_a_time_and_not_the_same_again() -> None:
    buffers = SharedBuffers(100_000)
    buffers.change("others", 0, 100_000)
    buffers.starved("first", SECOND)
    buffers.starved("second", SECOND)
    assert buffers.allowance("first") > 100_000
    assert buffers.allowance("second") == FLOOR
    buffers.starved("first", SECOND + PATIENCE)  # its time is over
    assert buffers.allowance("first") == FLOOR
    buffers.starved("second", SECOND + PATIENCE)
    assert buffers.allowance("second") > 100_000
    buffers.change("second", 0, 50_000)
    buffers.forget("second", 50_000)
    assert buffers.allowance("second") == FLOOR
    assert buffers.used == 100_000


def test_buffers_many_uploads_at_once_stay_within_the_bound_and_all_complete() -> None:
    """24 x 256 KiB through 1 MiB: nobody is aborted, and everybody is served."""
    exchange = Exchange(24, 1 << 20)
    ids = [client.open_channel("bulk") for client in exchange.clients]
    for client, stream_id in zip(exchange.clients, ids, strict=True):
        assert client.send(stream_id, bytes(LONGEST), False, exchange.now)
    for _ in range(60):
        exchange.run(100)
        if all(exchange.got):
            break
    assert [[len(data) for data in got] for got in exchange.got] == [[LONGEST]] * 24
    assert not exchange.ended
    one_by_itself = 2 * (LONGEST + 300 * 64)
    assert exchange.most <= exchange.buffers.limit + 24 * FLOOR + one_by_itself
    assert exchange.most > exchange.buffers.limit // 2  # it was a squeeze
    exchange.run(200)
    assert exchange.buffers.used == 0  # everything is acknowledged


def test_buffers_full_of_what_never_completes_let_events_of_others_through() -> None:
    exchange = Exchange(20, 1 << 20)
    for place, client in enumerate(exchange.clients[:-1]):
        client.send(client.open_channel("never"), bytes(LONGEST), False, exchange.now)
        exchange.stopped.add(place)
        for _ in range(200):  # most of the message, whatever the window says
            packet = client.poll_datagram()
            if packet is None:
                client.transmission.allowance = 8
                client.transmission.window.size = LONGEST
                packet = client.poll_datagram()
            if packet is not None:
                exchange.calls[place].receive(packet, exchange.now)
                exchange.calls[place].work(lambda _packet, _now: None, exchange.now)
    assert exchange.drops["buffers-full"]
    assert exchange.buffers.used <= exchange.buffers.limit + 20 * FLOOR + LONGEST * 2
    talker = exchange.clients[-1]
    stream_id = talker.open_channel("events")
    for number in range(10):
        assert talker.send(stream_id, b"%d" % number * 1000, False, exchange.now)
        exchange.run(10)
        assert len(exchange.got[-1]) == number + 1
    assert not exchange.ended
    for call in exchange.calls:
        call.close()
    assert exchange.buffers.used == 0


@pytest.mark.parametrize(("channels", "together"), [(4, LONGEST), (12, 2 << 20)])
def test_interleaved_long_messages_complete_side_by_side(channels: int, together: int) -> None:
    """RFC 8260: all of them begun before one ends."""
    wire = established(config=DataChannelConfig(send_buffer_bytes=8 << 20))
    left, right = wire.left.engine, wire.right.engine
    ids = [left.open_channel(str(number)) for number in range(channels)]
    for number, stream_id in enumerate(ids):
        assert left.send(stream_id, bytes([number]) * LONGEST, False, wire.now)
    most = 0
    for _ in range(600):
        wire.run(seconds=0.05)
        most = max(most, right.reception.reassembly.held)
        if len(messages(wire.right)) == channels:
            break
    assert sorted(messages(wire.right)) == [bytes([number]) * LONGEST for number in range(channels)]
    assert most > together
    assert not wire.left.saw(Closed)


@pytest.mark.parametrize("drops_reason", ["reassembly-full"])
def test_interleaved_more_than_can_ever_complete_ends_the_association_cleanly(drops_reason: str) -> None:
    sender = DataChannelConfig(send_buffer_bytes=32 << 20)
    wire = established(config=sender, right_config=DataChannelConfig())
    left, right = wire.left.engine, wire.right.engine
    for number in range(40):
        left.send(left.open_channel(str(number)), bytes(LONGEST), False, wire.now)
    most = 0
    while not wire.left.saw(Closed) and wire.now < 60 * SECOND:
        wire.run(seconds=0.05)
        most = max(most, right.reception.reassembly.held)
    assert wire.left.events[-1] == Closed("peer aborted")
    assert wire.right.events[-1] == Closed("protocol violation")
    assert right.drops[drops_reason] == 1
    assert most <= right.config.receive_buffer_bytes + right.config.interleaved_buffer_bytes


def test_interleaved_extension_is_not_for_messages_that_nobody_fetches() -> None:
    config = DataChannelConfig()
    extension = config.interleaved_buffer_bytes
    reception = Reception(1, config.receive_buffer_bytes, LONGEST, 16, 0, True, extension)
    assert reception.window() == config.receive_buffer_bytes
    reception.reassembly.held = extension  # incomplete
    assert reception.window() == config.receive_buffer_bytes
    reception.unfetched = config.receive_buffer_bytes  # complete, and the application has stopped
    assert reception.window() == 0
    reception.fetched(LONGEST)
    assert 0 < reception.window() <= 2 * LONGEST


def test_closed_association_answers_strays_as_rfc_9260_8_4() -> None:
    """After the end: ABORT and SHUTDOWN COMPLETE are never answered, all else is, with the tag reflected."""
    done = association("server")
    done.peer_tag = 7
    done.abort(SECOND)
    assert done.poll_datagram() is not None
    tag = 0x01020304
    table: dict[bytes, tuple[type, int, bool] | None] = {
        chunks.Abort().serialize(): None,
        chunks.Signal(chunks.SHUTDOWN_COMPLETE).serialize(): None,
        chunks.CookieEcho(b"x" * 40).serialize(): None,
        chunks.ErrorChunk(((3, b"\0\0\0\0"),)).serialize(): None,
        chunks.Signal(chunks.SHUTDOWN_ACK).serialize(): (chunks.Signal, tag, True),
        chunks.Signal(chunks.COOKIE_ACK).serialize(): (chunks.Abort, tag, True),
        chunks.Shutdown(5).serialize(): (chunks.Abort, tag, True),
        chunks.Sack(5, 1000).serialize(): (chunks.Abort, tag, True),
        chunks.Heartbeat(b"info").serialize(): (chunks.Abort, tag, True),
    }  # fmt: skip
    for number, (chunk, answer) in enumerate(table.items(), 1):
        done.receive_datagram(serialize_packet(PORT, PORT, tag, [chunk]), SECOND)
        assert done.drops["sctp-closed"] == number
        packet = done.poll_datagram()
        assert (packet is None) == (answer is None), chunk
        if packet is not None and answer is not None:
            found = parse_packet(packet, False)
            assert (type(found.chunks[0]), found.tag, found.chunks[0].reflected) == answer  # type: ignore[union-attr]
    fresh = association("client", 5)
    fresh.start(SECOND)
    init = fresh.poll_datagram()
    done.receive_datagram(init, SECOND)
    answer_to_init = done.poll_datagram()
    assert answer_to_init is not None
    assert parse_packet(answer_to_init, False).tag == fresh.local_tag
    for _ in range(100):
        done.receive_datagram(init, SECOND)
    left = 0
    while done.poll_datagram() is not None:
        left += 1
    assert left <= 16  # a flood is not answered in full


def test_buffers_bound_is_reloaded_for_calls_that_are_there() -> None:
    bottle = Bottle()
    _, call = bottle.create("active", data_negotiation())
    transport = call.session.data
    assert transport is not None
    buffers = transport._buffers
    config = DataChannelConfig(buffers_total_bytes=2 << 20)
    bottle.calls.configure(IceConfig(), DtlsConfig(), config)
    assert buffers.limit == 2 << 20
    buffers.change(transport, 0, 3 << 20)
    assert buffers.allowance(transport) == FLOOR
