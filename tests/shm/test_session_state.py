"""DTLS and SRTP state of a call: what was assigned stands in the struct, and keys are there whole or not at all."""

import os
from typing import Any

import pytest

from shm import layout
from shm.session import SessionRecord, SessionSegment
from tests.shm.faultbuild import fault_module, killed_at

AES_128 = {
    "cipher_suite": 0xC02B,
    "write_key": b"w" * 16,
    "read_key": b"r" * 16,
    "write_iv": b"wiv4",
    "read_iv": b"riv4",
}
CHACHA = {
    "cipher_suite": 0xCCA9,
    "write_key": b"w" * 32,
    "read_key": b"r" * 32,
    "write_iv": b"w" * 12,
    "read_iv": b"r" * 12,
}


def one_call() -> tuple[SessionSegment, SessionRecord]:
    sessions = SessionSegment.create(1, 0)
    return sessions, sessions.record(sessions.allocate(1) or 0)


@pytest.mark.parametrize("suite", [AES_128, CHACHA])
def test_session_dtls_keys_come_back_exactly_as_long_as_used(suite: dict[str, Any]) -> None:
    _, record = one_call()
    record.dtls.install(version=0xFEFD, role=2, write_sequence=7, **suite)
    assert {name: getattr(record.dtls, name) for name in suite} == suite
    assert (record.dtls.version, record.dtls.role, record.dtls.closed) == (0xFEFD, 2, False)
    assert (record.dtls.write_epoch, record.dtls.read_epoch, record.dtls.write_sequence) == (1, 1, 7)


def test_session_dtls_attributes_do_not_touch_each_other() -> None:
    """They share words in memory."""
    _, record = one_call()
    values = {
        "version": 0xFEFC,
        "cipher_suite": 0x1302,
        "role": 1,
        "closed": True,
        "write_epoch": 3,
        "read_epoch": 65535,
        "write_sequence": (1 << 48) - 1,
        "read_highest": 1 << 63,
        "read_window": (1 << 64) - 1,
    }
    for order in (list(values), list(reversed(values))):
        for name in order:
            setattr(record.dtls, name, values[name])
        assert {name: getattr(record.dtls, name) for name in values} == values
    record.dtls.closed = False
    assert {name: getattr(record.dtls, name) for name in values} == {**values, "closed": False}


def test_session_srtp_keys_come_back_exactly_as_long_as_used() -> None:
    _, record = one_call()
    for profile, key, salt in ((0x0007, 16, 12), (0x0008, 32, 12), (0x0001, 16, 14)):
        record.srtp.install(profile, b"a" * key, b"b" * salt, b"c" * key, b"d" * salt)
        srtp = record.srtp
        assert (srtp.profile, srtp.local_key, srtp.local_salt) == (profile, b"a" * key, b"b" * salt)
        assert (srtp.remote_key, srtp.remote_salt) == (b"c" * key, b"d" * salt)


def test_session_key_that_does_not_fit_is_refused() -> None:
    _, record = one_call()
    with pytest.raises(ValueError, match="33 bytes"):
        record.dtls.write_key = bytes(33)
    with pytest.raises(ValueError, match="17 bytes"):
        record.srtp.local_salt = bytes(17)
    with pytest.raises(OverflowError):
        record.dtls.version = 65536


@pytest.mark.parametrize("part", ["dtls", "srtp"])
def test_session_keys_installed_by_a_killed_process_are_whole_or_absent(part: str) -> None:
    deadly = fault_module("session", "session_addresses", "session_state").SessionSegment
    for store in range(1, 200):
        sessions, _ = one_call()
        writer = deadly.attach(os.dup(sessions.fd)).record(0)
        died = killed_at(store, lambda writer=writer: install(writer, part))
        found = SessionSegment.attach(os.dup(sessions.fd)).record(0)
        if part == "dtls" and found.dtls.version:
            assert {name: getattr(found.dtls, name) for name in AES_128} == AES_128
        elif part == "srtp" and found.srtp.profile:
            assert (found.srtp.local_key, found.srtp.remote_salt) == (b"k" * 16, b"t" * 12)
        else:
            assert died
        if not died:
            assert store > 20
            return
    raise AssertionError("no end")


def install(record: Any, part: str) -> None:
    if part == "dtls":
        record.dtls.install(version=0xFEFD, role=1, **AES_128)
    else:
        record.srtp.install(7, b"k" * 16, b"s" * 12, b"k" * 16, b"t" * 12)


def test_session_replay_window_of_a_killed_process_lets_no_replay_in() -> None:
    """Numbers 0, 1 and 3 were seen; 6 arrives. Wherever its process dies, what was seen stays seen."""
    deadly = fault_module("session", "session_addresses", "session_state").SessionSegment
    for store in range(1, 20):
        sessions, record = one_call()
        record.dtls.advance_read(4, 0b1101)
        state = deadly.attach(os.dup(sessions.fd)).record(0).dtls
        died = killed_at(store, lambda state=state: state.advance_read(7, 0b1101001))
        highest, window = record.dtls.read_highest, record.dtls.read_window
        for number in (0, 1, 3):
            assert highest > number
            assert window >> (highest - 1 - number) & 1
        if not died:
            assert (highest, window) == (7, 0b1101001)
            return
    raise AssertionError("no end")


def test_session_record_fields() -> None:
    sessions, record = one_call()
    values = {
        "state": layout.SESSION_SILENT,
        "application": 1,
        "incarnation": 1 << 63,
        "origin": 5,
        "last_check_ns": 6,
        "checked_since_ns": 7,
        "connected_ns": 8,
        "closing_ns": 9,
        "call_id": "rtc_" + "x" * 43,
        "rtcp_cname": 10,
        "local_ssrc": (1 << 32) - 1,
        "payloads": [(111, 48000), (0, 8000), (101, 8000)],
    }
    generation = record.generation
    for name, value in values.items():
        setattr(record, name, value)
    other = SessionSegment.attach(os.dup(sessions.fd), writer=False).record(0)
    assert {name: getattr(other, name) for name in values} == values
    assert (other.generation, other.version, other.slot) == (generation, layout.SESSION_VERSION, 0)
    with pytest.raises(ValueError, match="47"):
        record.call_id = "x" * 48
    with pytest.raises(ValueError, match="payload"):
        record.payloads = [(96, 48000)] * 9


def test_session_media_state_is_read_by_the_names_of_the_layout() -> None:
    sessions, record = one_call()
    assert set(record.media.read()) == set(layout.STRUCTS["session_media"].fields)
    assert record.streams == []
    memory = memoryview(sessions.segment)

    def store(field: str, value: int, size: int) -> None:
        at = layout.SESSIONS_OFFSET + layout.offset("session", field)
        memory[at : at + size] = value.to_bytes(size, "little", signed=value < 0)

    store("media.remote_cumulative_lost", -5, 4)
    store("media.index_offset", -(1 << 40), 8)
    store("media.packets_sent", 1 << 40, 8)
    store("media.srtp_proven", 9 | 8 << 32, 8)
    assert (record.media.remote_cumulative_lost, record.media.index_offset) == (-5, -(1 << 40))
    assert (record.media.packets_sent, record.media.srtp_proven) == (1 << 40, (9, 8, 0, 0))
    with pytest.raises(AttributeError):
        record.media.nonsense  # type: ignore[attr-defined] # noqa: B018
    store("streams", 0x1234 | 1 << 32, 8)
    assert [stream.ssrc for stream in record.streams] == [0x1234]
