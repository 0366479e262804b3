"""Every record that a transceiver can put into an out ring, as a table: what it does, which counter says so."""

import socket
import struct
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple

import pytest

from relayd.outcomes import COUNTER_NAMES, OUT_OUTCOME_NAMES
from shm.flowkey import FlowKey
from shm.flows import FlowOutcome
from shm.layout import offset, size
from tests.relayd import packets
from tests.relayd.rig import (
    CHECKED,
    PROVEN,
    PUBLISH,
    PUBLISH_AND_SEND,
    SEND,
    WITHDRAW,
    Call,
    Rig,
    TransceiverEnd,
    nothing_arrives,
)

ALICE = Call(0, 5, 9)
RELOADED = Call(0, 6, 1)  # another call of the same transceiver, from the same address
BOB = Call(1, 6, 10)
ANSWER = packets.stun(packets.BINDING_SUCCESS, bytes(12))
ERROR = packets.stun(packets.BINDING_ERROR, bytes(16))


class Ask(NamedTuple):
    """One record out."""

    kind: int
    call: Call = ALICE
    payload: bytes = b""
    media: bool = False
    state: int = CHECKED
    incarnation: int | None = None


class Row(NamedTuple):
    """The flows before, the record, its outcome, and whether the client gets the payload."""

    before: Sequence[Ask]
    ask: Ask
    outcome: str
    arrives: bool = False


P_ALICE = Ask(PUBLISH)
PROVEN_ALICE = Ask(PUBLISH, state=PROVEN)
P_BOB = Ask(PUBLISH, BOB)
P_RELOADED = Ask(PUBLISH, RELOADED)

C_ALICE = Ask(PUBLISH_AND_SEND, payload=ANSWER)  # the answer to a check: only that counts as one
TABLE = {
    "publish": Row((), P_ALICE, "out_published"),
    "publish again": Row((P_ALICE,), P_ALICE, "out_published"),
    "publish against a live owner: contender": Row((PROVEN_ALICE,), P_BOB, "out_published"),
    "publish against owner and contender": Row((PROVEN_ALICE, P_BOB), P_RELOADED, "out_publish_refused"),
    "publish of no address state": Row((), Ask(PUBLISH, state=0), "out_publish_refused"),
    "answer": Row((), Ask(PUBLISH_AND_SEND, payload=ANSWER), "out_sent_control", arrives=True),
    "answer, again": Row((P_ALICE,), Ask(PUBLISH_AND_SEND, payload=ANSWER), "out_sent_control", arrives=True),
    "answer to a contender": Row((PROVEN_ALICE,), Ask(PUBLISH_AND_SEND, BOB, ANSWER), "out_sent_control", arrives=True),
    "answer to a third": Row((PROVEN_ALICE, P_BOB), Ask(PUBLISH_AND_SEND, RELOADED, ANSWER), "out_publish_refused"),
    "answer of nothing": Row((), Ask(PUBLISH_AND_SEND), "out_refused_size"),
    "flight": Row((P_ALICE,), Ask(SEND, payload=packets.dtls(900)), "out_sent_control", arrives=True),
    "flight of a contender": Row(
        (PROVEN_ALICE, P_BOB), Ask(SEND, BOB, packets.dtls(900)), "out_sent_control", arrives=True
    ),
    "flight of a checked owner while another contends": Row(
        (P_ALICE, P_BOB), Ask(SEND, payload=packets.dtls(900)), "out_refused_owner"
    ),
    "flight of its contender": Row((P_ALICE, P_BOB), Ask(SEND, BOB, packets.dtls(900)), "out_sent_control", True),
    "flight of a checked owner that was checked again": Row(
        (P_ALICE, P_BOB, C_ALICE), Ask(SEND, payload=packets.dtls(900)), "out_sent_control", arrives=True
    ),
    "flight of its contender, then": Row(
        (P_ALICE, P_BOB, C_ALICE, P_BOB), Ask(SEND, BOB, packets.dtls(900)), "out_refused_owner"
    ),
    "answer to a contender that may not handshake": Row(
        (P_ALICE, P_BOB, P_ALICE), Ask(PUBLISH_AND_SEND, BOB, ANSWER), "out_sent_control", arrives=True
    ),
    "media of a checked owner while another contends": Row(
        (P_ALICE, P_BOB), Ask(SEND, payload=packets.rtp(), media=True), "out_sent_media", arrives=True
    ),
    "flight of a proven owner while another contends": Row(
        (PROVEN_ALICE, P_BOB), Ask(SEND, payload=packets.dtls(900)), "out_sent_control", arrives=True
    ),
    "flight to a stranger": Row((), Ask(SEND, payload=packets.dtls(900)), "out_refused_owner"),
    "flight to another's address": Row((P_ALICE,), Ask(SEND, BOB, packets.dtls(900)), "out_refused_owner"),
    "flight after withdrawal": Row((P_ALICE, Ask(WITHDRAW)), Ask(SEND, payload=packets.dtls(60)), "out_refused_owner"),
    "error to a stranger": Row((), Ask(SEND, payload=ERROR), "out_sent_control", arrives=True),
    "success to a stranger": Row((), Ask(SEND, payload=ANSWER), "out_refused_owner"),
    "long error to a stranger": Row(
        (), Ask(SEND, payload=packets.stun(packets.BINDING_ERROR, bytes(112))), "out_refused_owner"
    ),
    "error to a stranger as media": Row((), Ask(SEND, payload=ERROR, media=True), "out_refused_owner"),
    "media": Row((PROVEN_ALICE,), Ask(SEND, payload=packets.rtp(), media=True), "out_sent_media", arrives=True),
    "media to a stranger": Row((), Ask(SEND, payload=packets.rtp(), media=True), "out_refused_owner"),
    "media of a contender": Row((PROVEN_ALICE, P_BOB), Ask(SEND, BOB, packets.rtp(), media=True), "out_refused_owner"),
    "media of nothing": Row((PROVEN_ALICE,), Ask(SEND, media=True), "out_refused_size"),
    "media after losing the address": Row(
        (PROVEN_ALICE, P_BOB, Ask(PUBLISH, BOB, state=PROVEN)),
        Ask(SEND, payload=packets.rtp(), media=True),
        "out_refused_owner",
    ),
    "media of the new owner": Row(
        (PROVEN_ALICE, P_BOB, Ask(PUBLISH, BOB, state=PROVEN)),
        Ask(SEND, BOB, packets.rtp(), media=True),
        "out_sent_media",
        arrives=True,
    ),
    "publish on the media ring": Row((), Ask(PUBLISH, media=True), "out_refused_type"),
    "packet types do not go out": Row((P_ALICE,), Ask(3, payload=packets.rtp(), media=True), "out_refused_type"),
    "unknown type": Row((P_ALICE,), Ask(99, payload=b"x"), "out_refused_type"),
    "withdraw": Row((P_ALICE,), Ask(WITHDRAW), "out_withdrawn"),
    "withdraw of another's": Row((P_ALICE,), Ask(WITHDRAW, BOB), "out_withdraw_ignored"),
    "withdraw of nothing": Row((), Ask(WITHDRAW), "out_withdraw_ignored"),
    "publish of an earlier process": Row((), Ask(PUBLISH, incarnation=1), "out_refused_incarnation"),
    "answer of an earlier process": Row(
        (), Ask(PUBLISH_AND_SEND, payload=ANSWER, incarnation=1), "out_refused_incarnation"
    ),
    "media of an earlier process": Row(
        (PROVEN_ALICE,), Ask(SEND, payload=packets.rtp(), media=True, incarnation=1), "out_refused_incarnation"
    ),
}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
def test_worker_does_with_each_record_what_the_table_says(family: socket.AddressFamily) -> None:
    with Rig(transceivers=(0, 1)) as rig:
        records = 0
        for name, row in TABLE.items():
            client = rig.client(family)
            for ask in (*row.before, row.ask):
                before = rig.counters.read()
                put(rig, ask, rig.key(client))
                records += 1
                after = rig.out_settled(records)
            raised = {o: after[o] - before[o] for o in OUT_OUTCOME_NAMES if after[o] != before[o]}
            assert raised == {row.outcome: 1}, name
            for ask in row.before:
                if ask is C_ALICE:
                    assert client.recv(2048) == ANSWER
            if row.arrives:
                data, source = client.recvfrom(4096)
                assert data == row.ask.payload, name
                assert source[:2] == ("127.0.0.1" if family == socket.AF_INET else "::1", rig.port), name
            assert nothing_arrives(client), name


def put(rig: Rig, ask: Ask, key: bytes) -> None:
    written = rig.ends[ask.call.transceiver].ask(
        ask.kind, ask.call, key, ask.payload, media=ask.media, state=ask.state, incarnation=ask.incarnation
    )
    assert written


def test_worker_counter_names_of_publishes_follow_the_flow_tables_outcomes() -> None:
    first = COUNTER_NAMES.index("publish_applied")
    named = COUNTER_NAMES[first : first + len(FlowOutcome)]
    assert named == tuple(f"publish_{outcome.name.lower().removeprefix('flow_')}" for outcome in FlowOutcome)


def test_worker_record_of_another_transceivers_call_does_not_send() -> None:
    """A transceiver gone mad may name any origin; the lane that a record comes by decides whose it is."""
    with Rig(transceivers=(0, 1)) as rig:
        client = rig.client()
        rig.ends[0].ask(PUBLISH, ALICE, rig.key(client), state=PROVEN)
        rig.out_settled(1)
        rig.ends[1].ask(SEND, ALICE, rig.key(client), packets.rtp(), media=True)
        assert rig.out_settled(2)["out_refused_owner"] == 1
        assert nothing_arrives(client)


def set_in_record(end: TransceiverEnd, payload: bytes, field: str) -> None:
    """Sets a field of the record with this payload, written and not yet shown, to 1; all these fields start at 0."""
    view = memoryview(end.lane.segment)
    view[bytes(view).index(payload) - size("record") + offset("record", field)] = 1


@pytest.mark.parametrize("media", [False, True])
@pytest.mark.parametrize(
    ("field", "outcome"),
    [
        ("not_before_ns", "out_refused_timing"),
        ("drop_after_ns", "out_refused_timing"),
        ("segment_size", "out_refused_timing"),
        ("connection", "out_refused_address"),
    ],
)
def test_worker_refuses_what_is_not_built(media: bool, field: str, outcome: str) -> None:
    with Rig() as rig:
        client, end = rig.client(), rig.ends[0]
        end.ask(PUBLISH, ALICE, rig.key(client), state=PROVEN)
        rig.out_settled(1)
        ring = end.media_out if media else end.control_out
        ring.write(SEND, rig.key(client), b"marked", origin=ALICE.origin, incarnation=end.lane.incarnation)
        set_in_record(end, b"marked", field)
        ring.publish()
        end.bell.ring()
        assert rig.out_settled(2)[outcome] == 1
        assert nothing_arrives(client)


def changed_key(key: bytes, **changes: object) -> bytes:
    return FlowKey.unpack(key)._replace(**changes).pack()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"transport": 2},
        {"local_port": 1},
        {"client_port": 0},
        {"local": ip_address("::1")},
        {"client": ip_address("::1")},
    ],
)
def test_worker_refuses_addresses_that_no_socket_of_its_own_has(change: dict[str, object]) -> None:
    with Rig() as rig:
        key = changed_key(rig.key(rig.client()), **change)
        rig.ends[0].ask(PUBLISH_AND_SEND, ALICE, key, ANSWER)
        assert rig.out_settled(1)["out_refused_address"] == 1
        # Refused whole: no flow came of it.
        assert rig.flows.lookup(key) is None


def test_worker_answers_leave_from_the_address_that_the_client_wrote_to() -> None:
    with Rig() as rig:
        client = rig.client()
        rig.ends[0].ask(PUBLISH_AND_SEND, ALICE, rig.key(client, to="127.0.0.9"), ANSWER)
        assert client.recvfrom(100) == (ANSWER, ("127.0.0.9", rig.port))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
@pytest.mark.parametrize("traffic_class", [0, 0xB8])
def test_worker_sets_the_traffic_class_it_is_asked_for(family: socket.AddressFamily, traffic_class: int) -> None:
    v6 = family == socket.AF_INET6
    level, option, kind = (
        (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, socket.IPV6_TCLASS)
        if v6
        else (socket.IPPROTO_IP, 13, socket.IP_TOS)
    )
    with Rig() as rig:
        client = rig.client(family)
        client.setsockopt(level, option, 1)
        rig.ends[0].ask(PUBLISH_AND_SEND, ALICE, rig.key(client), ANSWER, traffic_class=traffic_class)
        _, control, _, _ = client.recvmsg(100, 100)
        (value,) = [data for *which, data in control if which == [level, kind]]
        assert struct.unpack("i", value)[0] == traffic_class if v6 else value[0] == traffic_class


def test_worker_a_datagram_that_fails_is_skipped_and_the_rest_of_its_batch_leaves() -> None:
    """sendmmsg stops at the first bad datagram; an address of ours that went away must not hold up other calls."""
    with Rig() as rig:
        clients = [rig.client() for _ in range(5)]
        gone = changed_key(rig.key(clients[0]), local=ip_address("192.0.2.1"))
        reserved = changed_key(rig.key(clients[0]), client=ip_address("255.255.255.255"))
        end = rig.ends[0]
        with rig.paused():
            for client in clients:
                end.ask(PUBLISH_AND_SEND, ALICE, gone, ANSWER)
                end.ask(PUBLISH_AND_SEND, ALICE, rig.key(client), ANSWER)
                end.ask(PUBLISH_AND_SEND, ALICE, reserved, ANSWER)
        after = rig.out_settled(15)
        assert after["out_sent_control"] == 5
        # EACCES for broadcast; what a foreign source gets depends on the machine's routes.
        assert after["out_error_acces"] == 5
        assert after["out_error_netunreach"] + after["out_error_inval"] + after["out_error_addrnotavail"] == 5
        assert after["send_calls"] <= 15
        for client in clients:
            assert client.recv(100) == ANSWER


def test_worker_datagram_larger_than_the_path_takes_is_counted_by_its_errno() -> None:
    with Rig() as rig:
        client = rig.client(socket.AF_INET6)
        end = rig.ends[0]
        end.ask(PUBLISH, ALICE, rig.key(client), state=PROVEN)
        rig.sockets[1].setsockopt(socket.IPPROTO_IPV6, 62, 1)  # IPV6_DONTFRAG
        rig.sockets[1].setsockopt(socket.IPPROTO_IPV6, 24, 1280)  # IPV6_MTU
        end.ask(SEND, ALICE, rig.key(client), bytes(30000), media=True)
        assert rig.out_settled(2)["out_error_msgsize"] == 1


def test_worker_neither_ring_nor_lane_starves_another() -> None:
    """Four full rings, a batch of four: after two batches each of them has moved."""
    with Rig(transceivers=(0, 1), batch=4) as rig:
        client = rig.client()
        for transceiver, call in ((0, ALICE), (1, BOB)):
            # ALICE proven: else only one of the two might send.
            rig.ends[transceiver].ask(PUBLISH, call, rig.key(client), state=CHECKED if transceiver else PROVEN)
            rig.out_settled(transceiver + 1)  # two lanes have no order between them, and ALICE is to be first
        with rig.paused():
            for _ in range(8):
                for transceiver, call in ((0, ALICE), (1, BOB)):
                    for media in (False, True):
                        rig.ends[transceiver].ask(SEND, call, rig.key(client), bytes([transceiver, media]), media=media)
        rig.out_settled(34)
        order = []
        # ALICE owns, BOB contends: his media are refused, but they take their turn.
        for _ in range(24):
            order.append(tuple(client.recv(10)))
        assert nothing_arrives(client)
        assert order.count((0, 0)) == order.count((0, 1)) == order.count((1, 0)) == 8
        assert {(0, 0), (0, 1)} <= set(order[:8])
        assert {(1, 0)} <= set(order[:8])


def test_worker_keeps_the_order_of_a_control_ring() -> None:
    """A flight behind its publish is sent; behind a withdraw it is not, all in one batch."""
    with Rig() as rig:
        client, end = rig.client(), rig.ends[0]
        with rig.paused():
            for number in range(10):
                end.ask(SEND, ALICE, rig.key(client), b"too early")
                end.ask(PUBLISH, ALICE, rig.key(client))
                end.ask(SEND, ALICE, rig.key(client), bytes([number]))
                end.ask(WITHDRAW, ALICE, rig.key(client))
        after = rig.out_settled(40)
        assert [client.recv(10) for _ in range(10)] == [bytes([number]) for number in range(10)]
        assert nothing_arrives(client)
        assert (after["out_refused_owner"], after["out_withdrawn"]) == (10, 10)
