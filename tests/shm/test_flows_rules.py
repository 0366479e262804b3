"""The flow table's rules one by one, as a call's owner would tell them (DESIGN 2.3, 2.4)."""

import os
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.errors import LayoutRefused
from shm.flow_types import FlowOutcome
from shm.flowkey import TRANSPORT_TCP, TRANSPORT_UDP, FlowKey
from shm.flows import CONTENDER_LIFETIME_NS, FlowTable
from shm.layout import ADDRESS_CHECKED, ADDRESS_PROVEN, FLAG_CONTENDED, offset
from shm.segment import Segment
from tests.shm.processes import fork, reap

SECOND = 10**9
PUBLISH, PUBLISH_AND_SEND = 16, 18  # enum ringline_record_type
NOW = 10**12
LOCAL = IPv4Address("127.0.0.1")
KEY = FlowKey(TRANSPORT_UDP, IPv4Address("192.0.2.7"), 40000, LOCAL, 3478).pack()
OLD, NEW, OTHER = 1, 2, 3  # calls; each lives in the transceiver of its number, with incarnation 100 + number


def new_table(entries: int = 64) -> FlowTable:
    table = FlowTable.create(entries)
    for transceiver in (OLD, NEW, OTHER):
        table.set_incarnation(transceiver, 100 + transceiver)
    return table


def publish(
    table: FlowTable,
    call: int,
    state: int = ADDRESS_CHECKED,
    *,
    key: bytes = KEY,
    now: int = NOW,
    flags: int = 0,
    kind: int = PUBLISH_AND_SEND,
) -> FlowOutcome:
    return table.publish(
        key, call, 100 + call, slot=call, transceiver=call, state=state, now=now, flags=flags, kind=kind
    )


def holders(table: FlowTable, key: bytes = KEY) -> tuple[int | None, int | None]:
    flow = table.lookup(key)
    if flow is None:
        return None, None
    return flow.owner.origin, flow.contender.origin if flow.contender else None


def test_flows_page_reload_on_the_same_port_reaches_the_new_call() -> None:
    """Nobody knows yet that the old call is dead: the new one contends, gets the packets too, wins by its handshake."""
    table = new_table()
    publish(table, OLD, ADDRESS_PROVEN)
    assert publish(table, NEW) is FlowOutcome.CONTENDING
    assert table.route(KEY, NOW) == (True, True)
    assert publish(table, NEW, ADDRESS_PROVEN, now=NOW + SECOND) is FlowOutcome.CONTENDER_WON
    assert holders(table) == (NEW, None)
    assert table.route(KEY, NOW) == (True, False)


def test_flows_spoofed_check_takes_nothing() -> None:
    """However often it is repeated, and in how many calls' names: a check alone does not move a live call's flow."""
    table = new_table()
    publish(table, OLD, ADDRESS_PROVEN)
    for second in range(40):
        publish(table, NEW, now=NOW + second * SECOND)
        publish(table, OTHER, now=NOW + second * SECOND)
        assert table.route(KEY, NOW + second * SECOND)[0]
    assert holders(table)[0] == OLD


def test_flows_owner_that_authenticates_ends_the_dispute() -> None:
    table = new_table()
    publish(table, OLD, ADDRESS_PROVEN)
    publish(table, NEW)
    assert publish(table, OLD, ADDRESS_PROVEN, flags=FLAG_CONTENDED) is FlowOutcome.CONTENDER_DROPPED
    assert holders(table) == (OLD, None)


def test_flows_repeated_old_proof_is_no_news() -> None:
    """Everything is published again after a restart of relayd; the dead page's call must not throw the new one out."""
    table = new_table()
    publish(table, OLD, ADDRESS_PROVEN)
    publish(table, NEW)
    assert publish(table, OLD, ADDRESS_PROVEN) is FlowOutcome.REFRESHED
    assert holders(table) == (OLD, NEW)
    assert publish(table, OTHER, ADDRESS_PROVEN) is FlowOutcome.REFUSED_CONTENDED


def test_flows_proof_counts_from_a_call_that_this_worker_refused() -> None:
    """It authenticated a packet of the dispute that came through another worker."""
    table = new_table()
    publish(table, OLD, ADDRESS_PROVEN)
    publish(table, NEW)
    assert publish(table, OTHER, ADDRESS_PROVEN, flags=FLAG_CONTENDED) is FlowOutcome.CONTENDER_WON
    assert holders(table) == (OTHER, None)


def test_flows_contender_has_ten_seconds_in_all() -> None:
    table = new_table()
    publish(table, OLD, ADDRESS_PROVEN)
    publish(table, NEW)
    almost = NOW + CONTENDER_LIFETIME_NS - 1
    assert publish(table, NEW, now=almost) is FlowOutcome.CONTENDING
    assert table.route(KEY, almost) == (True, True)
    assert table.route(KEY, almost + 1) == (True, False)
    assert publish(table, OTHER, now=almost) is FlowOutcome.REFUSED_CONTENDED
    assert publish(table, OTHER, now=almost + 1) is FlowOutcome.CONTENDING
    assert holders(table) == (OLD, OTHER)


def test_flows_time_that_goes_back_ends_no_contender() -> None:
    table = new_table()
    publish(table, OLD)
    publish(table, NEW)
    assert table.route(KEY, NOW - 100 * SECOND) == (True, True)


def test_flows_withdraw_is_conditional_on_origin_and_incarnation() -> None:
    table = new_table()
    publish(table, OLD)
    assert not table.withdraw(KEY, NEW, 102)
    assert not table.withdraw(KEY, OLD, 999)
    assert holders(table) == (OLD, None)
    assert table.withdraw(KEY, OLD, 101)
    assert not table.withdraw(KEY, OLD, 101)
    assert holders(table) == (None, None)
    assert table.occupied == 0


def test_flows_withdrawn_owner_leaves_to_its_contender_at_once() -> None:
    table = new_table()
    publish(table, OLD, ADDRESS_PROVEN)
    publish(table, NEW)
    assert table.withdraw(KEY, OLD, 101)
    assert holders(table) == (NEW, None)
    assert table.route(KEY, NOW) == (True, False)


def test_flows_dead_owner_counts_as_absent() -> None:
    table = new_table()
    publish(table, OLD, ADDRESS_PROVEN)
    table.set_incarnation(OLD, 0)
    assert table.route(KEY, NOW) == (False, False)
    assert publish(table, NEW) is FlowOutcome.REPLACED_DEAD
    assert holders(table) == (NEW, None)


def test_flows_contender_of_a_dead_owner_gets_the_packets_whatever_its_age() -> None:
    table = new_table()
    publish(table, OLD, ADDRESS_PROVEN)
    publish(table, NEW)
    table.set_incarnation(OLD, 555)
    later = NOW + 2 * CONTENDER_LIFETIME_NS
    assert table.route(KEY, later) == (False, True)
    publish(table, NEW, now=later)
    assert holders(table) == (NEW, None)


def test_flows_record_of_a_dead_incarnation_is_stale() -> None:
    table = new_table()
    table.set_incarnation(NEW, 777)
    assert publish(table, NEW) is FlowOutcome.STALE
    assert table.publish(KEY, OTHER, 0, transceiver=9, state=ADDRESS_CHECKED, now=NOW) is FlowOutcome.STALE
    assert table.items() == []


@pytest.mark.parametrize("state", [0, 3, 255])
def test_flows_unknown_address_state_is_refused(state: int) -> None:
    table = new_table()
    assert publish(table, NEW, state) is FlowOutcome.REFUSED_MALFORMED
    assert table.items() == []


def many_keys(count: int) -> list[bytes]:
    """In a table of one bucket they all meet; in a larger one a stranger cannot choose them so: the hash is keyed."""
    return [FlowKey(TRANSPORT_UDP, IPv4Address(0xC6120000 + i), 5000, LOCAL, 3478).pack() for i in range(count)]


def test_flows_full_bucket_refuses_and_first_reuses_a_dead_owners_place() -> None:
    table = new_table(entries=8)
    keys = many_keys(10)
    for i, key in enumerate(keys[:8]):
        assert publish(table, OLD if i == 5 else OTHER, key=key) is FlowOutcome.APPLIED
    assert publish(table, NEW, key=keys[8]) is FlowOutcome.REFUSED_FULL
    assert table.lookup(keys[8]) is None
    table.set_incarnation(OLD, 0)
    assert publish(table, NEW, key=keys[8]) is FlowOutcome.REPLACED_DEAD
    assert holders(table, keys[8]) == (NEW, None)
    assert holders(table, keys[5]) == (None, None)
    assert publish(table, NEW, key=keys[9]) is FlowOutcome.REFUSED_FULL
    assert table.occupied == 8


def test_flows_full_bucket_spares_the_contender_of_a_dead_owner() -> None:
    table = new_table(entries=8)
    keys = many_keys(9)
    for key in keys[:8]:
        publish(table, OLD, key=key)
    for key in keys[:8]:
        publish(table, NEW, key=key)
    table.set_incarnation(OLD, 0)
    assert publish(table, OTHER, key=keys[8]) is FlowOutcome.REFUSED_FULL
    assert {flow.owner.origin for flow in table.items()} == {NEW}


def test_flows_table_takes_three_quarters_of_its_entries() -> None:
    """Two candidate buckets: chance alone fills none of them early."""
    table = new_table(entries=8192)
    outcomes = [publish(table, OLD, key=key) for key in many_keys(6144)]
    assert set(outcomes) == {FlowOutcome.APPLIED}
    assert table.occupied == 6144
    assert all(holders(table, key) == (OLD, None) for key in many_keys(6144))


def test_flows_dead_owner_in_the_second_bucket_is_found_too() -> None:
    """Full to the last place with the flows of a call that then dies: all places can be used again."""
    table = new_table(entries=64)
    for key in many_keys(400):
        publish(table, OLD, key=key)
    full = table.occupied
    assert full == 64
    table.set_incarnation(OLD, 0)
    reused = [publish(table, NEW, key=key) for key in many_keys(1000)[400:]]
    assert reused.count(FlowOutcome.REPLACED_DEAD) == full
    assert {flow.owner.origin for flow in table.items()} == {NEW}


def test_flows_keys_differ_in_every_field() -> None:
    table = new_table()
    base = FlowKey(TRANSPORT_UDP, IPv4Address("192.0.2.7"), 40000, LOCAL, 3478)
    others = [
        base._replace(transport=TRANSPORT_TCP),
        base._replace(client=IPv6Address("2001:db8::7")),
        base._replace(client_port=40001),
        base._replace(local=IPv4Address("127.0.0.2")),
        base._replace(local_port=3479),
        base._replace(scope=2),
    ]
    for key in [base, *others]:
        assert publish(table, OLD, key=key.pack()) is FlowOutcome.APPLIED
    assert table.occupied == 7


SIPHASH_INITIAL = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
MASK = (1 << 64) - 1


def siphash13(k0: int, k1: int, data: bytes) -> int:
    """The paper's algorithm, written down as there."""

    def rotate(x: int, bits: int) -> int:
        return (x << bits | x >> (64 - bits)) & MASK

    v = [initial ^ (k1 if i % 2 else k0) for i, initial in enumerate(SIPHASH_INITIAL)]

    def round_() -> None:
        v[0] = (v[0] + v[1]) & MASK
        v[1] = rotate(v[1], 13) ^ v[0]
        v[0] = rotate(v[0], 32)
        v[2] = (v[2] + v[3]) & MASK
        v[3] = rotate(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & MASK
        v[3] = rotate(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & MASK
        v[1] = rotate(v[1], 17) ^ v[2]
        v[2] = rotate(v[2], 32)

    padded = data + bytes(-(len(data) + 1) % 8) + bytes([len(data) & 0xFF])
    for i in range(0, len(padded), 8):
        word = int.from_bytes(padded[i : i + 8], "little")
        v[3] ^= word
        round_()
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(3):
        round_()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


@settings(max_examples=50, deadline=None)
@given(key=st.binary(min_size=48, max_size=48))
def test_flows_hash_is_siphash13(key: bytes) -> None:
    table = FlowTable.create(8)
    seed = bytes(memoryview(table.segment))[offset("flow_table_header", "hash_key") :][:16]
    k0, k1 = (int.from_bytes(seed[i : i + 8], "little") for i in (0, 8))
    assert table.hash(key) == siphash13(k0, k1, key)


@pytest.mark.skipif(sys.hash_info.algorithm != "siphash13", reason="this Python hashes bytes in another way")
def test_flows_hash_reference_agrees_with_python() -> None:
    """CPython's own SipHash-1-3, which has a key of zeros when PYTHONHASHSEED is 0, vouches for the reference above."""
    data = bytes(range(48))
    printed = subprocess.run(
        [sys.executable, "-c", "print(hash(bytes(range(48))))"],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert int(printed) % (1 << 64) == siphash13(0, 0, data)


def test_flows_hash_key_is_random() -> None:
    assert FlowTable.create(8).hash(KEY) != FlowTable.create(8).hash(KEY)


def test_flows_attach_refuses_what_is_no_flow_table() -> None:
    counters = Segment.create(4, 4096)
    with pytest.raises(LayoutRefused):
        FlowTable.attach(os.dup(counters.fd))
    table = FlowTable.create(8)
    view = memoryview(table.segment)
    at = offset("flow_table_header", "buckets")
    for nonsense in (0, 3, 1 << 40, (1 << 64) - 1):
        view[at : at + 8] = nonsense.to_bytes(8, "little")
        with pytest.raises(ValueError, match="header"):
            FlowTable.attach(os.dup(table.fd))


def test_flows_reader_in_another_process_never_sees_half_an_entry() -> None:
    """The writer changes who holds an address all the time; each owner and contender seen is one of the calls."""
    table = FlowTable.create(8)

    def call(number: int) -> tuple[int, int, int, int, int]:
        """Every word of a holder follows from its number."""
        return number * 0x0101010101010101, number * 7919 + 1, number * 65537, number, number % 200

    def write() -> None:
        for i in range(30_000):
            number = i % 251 + 1
            origin, incarnation, slot, generation, transceiver = call(number)
            arguments = (KEY, origin, incarnation)
            words = {"slot": slot, "generation": generation, "transceiver": transceiver, "now": number}
            table.publish(*arguments, state=1 + i % 2, flags=FLAG_CONTENDED * (i % 3 == 0), **words)
            if i % 5 == 0:
                table.withdraw(*arguments)

    reader = FlowTable.attach(os.dup(table.fd))
    child = fork(write)
    seen = 0
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        for flow in reader.items():
            for holder in filter(None, (flow.owner, flow.contender)):
                number = holder.generation
                assert holder[:5] == call(number)
                assert holder.since_ns == number
            seen += 1
    assert reap(child) == 0
    assert seen > 0
