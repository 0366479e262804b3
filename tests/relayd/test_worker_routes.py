"""Every route in and every drop, as a table: what comes in, who gets it, which counter says so.

Each row sends one datagram through a real socket to a running worker; exactly one outcome goes up by exactly one, and
exactly the named records arrive.
"""

import os
import socket
from collections.abc import Callable
from typing import NamedTuple

import pytest

from relayd.outcomes import OUTCOME_NAMES
from relayd.ufrag import ALPHABET, UfragKeys
from tests.relayd import packets
from tests.relayd.rig import (
    CHECKED,
    CONTENDED,
    CONTENDER,
    DTLS,
    FLOW,
    MACHINE,
    PROVEN,
    PUBLISH,
    RTCP,
    RTP,
    STUN,
    Call,
    Rig,
)

ALICE = Call(0, 5, 9)
BOB = Call(1, 6, 10)  # at another transceiver
ELSEWHERE = Call(0, 5, 9, machine=MACHINE + 1)
NOBODY = Call(3, 1, 1)  # a transceiver without a lane


class Expected(NamedTuple):
    """One record that must arrive."""

    call: Call
    kind: int
    flags: int


class Row(NamedTuple):
    """Input, the flows before it, output, counter."""

    packet: Callable[[Rig], bytes]
    flows: tuple[tuple[Call, int], ...]
    arrives: tuple[Expected, ...]
    outcome: str


def check(call: Call) -> Callable[[Rig], bytes]:
    return lambda rig: packets.binding_request(rig.ufrag(call))


def same(data: bytes) -> Callable[[Rig], bytes]:
    return lambda rig: data


def forged(rig: Rig) -> bytes:
    return packets.binding_request(rig.ufrag(ALICE, UfragKeys.generate()))


def unknown_key(rig: Rig) -> bytes:
    return packets.binding_request(rig.ufrag(ALICE, UfragKeys(3, {3: rig.keys.secret(0)})))


OF_ALICE = ((ALICE, CHECKED),)
DISPUTED = ((ALICE, PROVEN), (BOB, CHECKED))

TABLE = {
    # ---- Binding requests: by the ufrag, flow or not
    "check from a new address": Row(check(ALICE), (), (Expected(ALICE, STUN, 0),), "forwarded_stun"),
    "check for another transceiver": Row(check(BOB), (), (Expected(BOB, STUN, 0),), "forwarded_stun"),
    "check of the flow's call": Row(check(ALICE), OF_ALICE, (Expected(ALICE, STUN, FLOW),), "forwarded_stun"),
    "check of a call from another's address": Row(check(BOB), OF_ALICE, (Expected(BOB, STUN, FLOW),), "forwarded_stun"),
    "check of the owner of a disputed address": Row(
        check(ALICE), DISPUTED, (Expected(ALICE, STUN, FLOW | CONTENDED),), "forwarded_stun"
    ),
    "check of the contender": Row(
        check(BOB), DISPUTED, (Expected(BOB, STUN, FLOW | CONTENDED | CONTENDER),), "forwarded_stun"
    ),
    "check for another machine": Row(check(ELSEWHERE), (), (), "dropped_unknown_machine"),
    "check for no transceiver": Row(check(NOBODY), (), (), "dropped_no_transceiver"),
    "check for no transceiver from a known address": Row(check(NOBODY), OF_ALICE, (), "dropped_no_transceiver"),
    "forged tag": Row(forged, (), (), "dropped_ufrag_tag"),
    "forged tag from a known address": Row(forged, OF_ALICE, (), "dropped_ufrag_tag"),
    "key that does not verify": Row(unknown_key, (), (), "dropped_ufrag_key"),
    "ufrag version": Row(same(packets.binding_request("Q" + ALPHABET[:29])), (), (), "dropped_ufrag_version"),
    "ufrag character": Row(same(packets.binding_request("-" * 30)), (), (), "dropped_ufrag_character"),
    "username form": Row(same(packets.binding_request("abcd")), (), (), "dropped_stun_username_form"),
    "no username": Row(same(packets.stun(1)), (), (), "dropped_stun_without_username"),
    "attribute": Row(same(packets.stun(1, b"\x00\x06\x00\x28")), (), (), "dropped_stun_attribute"),
    "indication": Row(same(packets.stun(packets.BINDING_INDICATION)), OF_ALICE, (), "dropped_stun_indication"),
    "success response": Row(same(packets.stun(packets.BINDING_SUCCESS)), OF_ALICE, (), "dropped_stun_response"),
    "error response": Row(same(packets.stun(packets.BINDING_ERROR)), OF_ALICE, (), "dropped_stun_response"),
    "allocate": Row(same(packets.stun(3)), OF_ALICE, (), "dropped_stun_method"),
    "stun length": Row(same(packets.stun(1) + b"more"), OF_ALICE, (), "dropped_stun_length"),
    "stun cookie": Row(same(packets.stun(1, cookie=1)), OF_ALICE, (), "dropped_stun_cookie"),
    # ---- DTLS, RTP, RTCP: by the flow table
    "dtls from a stranger": Row(same(packets.dtls()), (), (), "dropped_no_flow"),
    "rtp from a stranger": Row(same(packets.rtp()), (), (), "dropped_no_flow"),
    "rtcp from a stranger": Row(same(packets.rtcp()), (), (), "dropped_no_flow"),
    "dtls": Row(same(packets.dtls(1200)), OF_ALICE, (Expected(ALICE, DTLS, FLOW),), "forwarded_dtls"),
    "rtp": Row(same(packets.rtp()), OF_ALICE, (Expected(ALICE, RTP, FLOW),), "forwarded_rtp"),
    "rtcp": Row(same(packets.rtcp()), OF_ALICE, (Expected(ALICE, RTCP, FLOW),), "forwarded_rtcp"),
    "largest datagram": Row(same(packets.rtp(2048)), OF_ALICE, (Expected(ALICE, RTP, FLOW),), "forwarded_rtp"),
    "dtls in dispute": Row(
        same(packets.dtls()),
        DISPUTED,
        (Expected(ALICE, DTLS, FLOW | CONTENDED), Expected(BOB, DTLS, FLOW | CONTENDED | CONTENDER)),
        "forwarded_dtls",
    ),
    "rtp in dispute": Row(
        same(packets.rtp()),
        DISPUTED,
        (Expected(ALICE, RTP, FLOW | CONTENDED), Expected(BOB, RTP, FLOW | CONTENDED | CONTENDER)),
        "forwarded_rtp",
    ),
    # ---- anything else
    "empty": Row(same(b""), OF_ALICE, (), "dropped_empty"),
    "one byte": Row(same(b"\x80"), OF_ALICE, (), "dropped_too_short"),
    "short rtp": Row(same(packets.rtp()[:11]), OF_ALICE, (), "dropped_too_short"),
    "turn channel": Row(same(b"\x40" * 40), OF_ALICE, (), "dropped_unknown_kind"),
    "quic": Row(same(b"\xc3" * 40), OF_ALICE, (), "dropped_unknown_kind"),
    "too long": Row(same(packets.rtp(2049)), OF_ALICE, (), "dropped_truncated"),
}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
def test_worker_routes_each_datagram_as_the_table_says(family: socket.AddressFamily) -> None:
    with Rig(transceivers=(0, 1)) as rig:
        asked = 0
        before = rig.counters.read()
        for received, (name, row) in enumerate(TABLE.items(), start=1):
            client = rig.client(family)
            for call, state in row.flows:
                rig.ends[call.transceiver].ask(PUBLISH, call, rig.key(client), state=state)
                asked += 1
                rig.out_settled(asked)
            rig.send(client, row.packet(rig))
            after = rig.settled(received)
            raised = {o: after[o] - before[o] for o in OUTCOME_NAMES if after[o] != before[o]}
            assert raised == {row.outcome: 1}, name
            assert after["contended"] - before["contended"] == int(len(row.arrives) == 2), name
            assert_arrived(rig, client, name, row)
            before = after
        assert rig.count("lost_wakeups") == 0


def assert_arrived(rig: Rig, client: socket.socket, name: str, row: Row) -> None:
    for transceiver, end in rig.ends.items():
        handshake, media = end.take_handshake(), end.take_media()
        assert all(record.type in (STUN, DTLS) for record in handshake), name
        assert all(record.type in (RTP, RTCP) for record in media), name
        found = handshake + media
        wanted = [one for one in row.arrives if one.call.transceiver == transceiver]
        assert [(record.type, record.flags) for record in found] == [(one.kind, one.flags) for one in wanted], name
        for record, one in zip(found, wanted, strict=True):
            call = one.call
            assert (record.origin, record.slot, record.generation) == (call.origin, call.slot, call.generation), name
            assert record.incarnation == end.lane.incarnation
            assert record.key == rig.key(client)
            assert record.payload == row.packet(rig)
            assert (record.worker, record.origin_machine, record.hop_count) == (0, MACHINE, 0)
            assert (record.flow_index != 0xFFFFFFFF) == bool(one.flags & FLOW)
            assert record.receive_time_ns > 0


def test_worker_receives_the_address_that_the_client_wrote_to_and_its_traffic_class() -> None:
    with Rig() as rig:
        client = rig.client()
        client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xB8 | 2)
        rig.send(client, packets.binding_request(rig.ufrag(ALICE)), to="127.0.0.9")
        six = rig.client(socket.AF_INET6)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0x89)
        rig.send(six, packets.binding_request(rig.ufrag(ALICE)))
        rig.settled(2)
        by_class = {record.traffic_class: record for record in rig.ends[0].take_handshake()}
        assert by_class[0xBA].key == rig.key(client, to="127.0.0.9")
        assert by_class[0x89].key == rig.key(six)


def test_worker_drops_what_the_flow_of_a_dead_owner_gets() -> None:
    """The transceiver's process died: its supervisor takes the incarnation away, or gives the lane to a new process."""
    with Rig() as rig:
        client = rig.client()
        end = rig.ends[0]
        end.ask(PUBLISH, ALICE, rig.key(client), state=PROVEN)
        rig.out_settled(1)
        for sent, incarnation in enumerate((0, 77), start=1):
            end.lane.incarnation = incarnation
            rig.send(client, packets.rtp())
            assert rig.settled(sent)["dropped_owner_gone"] == sent
        rig.send(client, packets.binding_request(rig.ufrag(ALICE)))
        rig.settled(3)
        # The check goes to the new process, and the flow is not counted as one.
        (record,) = end.take_handshake()
        assert (record.incarnation, record.flags) == (77, 0)
        assert not end.take_media()


def test_worker_sends_no_check_to_a_dead_transceiver() -> None:
    with Rig() as rig:
        rig.ends[0].lane.incarnation = 0
        rig.send(rig.client(), packets.binding_request(rig.ufrag(ALICE)))
        assert rig.settled(1)["dropped_no_transceiver"] == 1


def test_worker_contender_alone_gets_the_packets_of_a_dead_owners_address() -> None:
    with Rig(transceivers=(0, 1)) as rig:
        client = rig.client()
        rig.ends[0].ask(PUBLISH, ALICE, rig.key(client), state=PROVEN)
        rig.out_settled(1)
        rig.ends[1].ask(PUBLISH, BOB, rig.key(client))
        rig.out_settled(2)
        rig.ends[0].lane.incarnation = 0
        rig.send(client, packets.rtp())
        after = rig.settled(1)
        assert (after["forwarded_rtp"], after["contended"]) == (1, 1)
        assert [record.origin for record in rig.ends[1].take_media()] == [BOB.origin]
        assert not rig.ends[0].take_media()


@pytest.mark.parametrize(
    ("packet", "outcome", "forwarded"),
    [
        (packets.dtls(600), "dropped_handshake_ring_full", "forwarded_dtls"),
        (packets.rtp(600), "dropped_media_ring_full", "forwarded_rtp"),
    ],
)
def test_worker_full_ring_is_a_counted_drop_and_leaves_the_other_alone(
    packet: bytes, outcome: str, forwarded: str
) -> None:
    with Rig(ring_bytes=4096) as rig:
        client = rig.client()
        rig.ends[0].ask(PUBLISH, ALICE, rig.key(client))
        rig.out_settled(1)
        for _ in range(10):
            rig.send(client, packet)
        after = rig.settled(10)
        assert after[outcome] == 10 - after[forwarded]
        assert 0 < after[forwarded] < 10
        # The other ring has room.
        rig.send(client, packets.rtcp() if packet[0] == 0x16 else packets.dtls())
        after = rig.settled(11)
        assert after["forwarded_rtcp" if packet[0] == 0x16 else "forwarded_dtls"] == 1
        full = [ring["full"] for ring in rig.ends[0].lane.status().values()]
        assert sorted(full) == [0, 0, 0, after[outcome]]


def test_worker_one_full_ring_of_two_contenders_is_counted_beside_the_outcome() -> None:
    with Rig(transceivers=(0, 1), ring_bytes=4096) as rig:
        client = rig.client()
        rig.ends[0].ask(PUBLISH, ALICE, rig.key(client), state=PROVEN)
        rig.out_settled(1)
        sent = 0
        while rig.count("dropped_media_ring_full") == 0:
            rig.send(client, packets.rtp(600))
            sent += 1
            rig.settled(sent)
        rig.ends[1].ask(PUBLISH, BOB, rig.key(client))
        rig.out_settled(2)
        rig.send(client, packets.rtp(600))
        after = rig.settled(sent + 1)
        assert (after["contended"], after["contended_copy_lost"]) == (1, 1)
        assert after["dropped_media_ring_full"] == 1
        assert [record.origin for record in rig.ends[1].take_media()] == [BOB.origin]


def test_worker_random_datagrams_end_in_one_outcome_each() -> None:
    """Nothing random comes through, whatever address it is from; the worker survives and its books add up."""
    with Rig() as rig:
        stranger = rig.client()
        for number in range(300):
            rig.send(stranger, os.urandom(number * 7 % 2100))
            if number % 50 == 49:  # what a default receive buffer holds of such sizes
                after = rig.settled(number + 1)
        assert not any(after[name] for name in OUTCOME_NAMES if name.startswith("forwarded"))
        assert not rig.ends[0].take_handshake()
        assert not rig.ends[0].take_media()
