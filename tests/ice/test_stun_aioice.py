"""aioice's STUN as differential oracle: where it and ours disagree, the reason is written here."""

import struct

from aioice import stun as aioice
from hypothesis import given, settings

from shm.errors import MalformedPacket
from shm.flowkey import pack_address, unpack_address
from tests.ice.strategies import hostile_bytes, messages
from transceiverd.ice import stun

KEY = b"a password of 24 letters"

# We refuse, aioice takes it. Each is what RFC 8489 asks for and aioice leaves out.
STRICTER = {
    "stun-type": "the two leading bits are masked away before the method is looked up",
    "stun-cookie": "the magic cookie is not compared",
    "stun-length": "a length that is no multiple of 4 is taken when it matches",
    "stun-method": "TURN's methods are known there; ICE over our socket has only Binding",
    "stun-attribute-overrun": "values are cut by slicing instead of refused",
    "stun-attribute-size": "USE-CANDIDATE, MESSAGE-INTEGRITY and an overlong USERNAME are not measured",
    "stun-attribute-value": "an error's class and number may be anything",
    "stun-attributes-many": "there is no limit",
    "stun-fingerprint-place": "FINGERPRINT need not be last",
}

# aioice refuses, we take it: it unpacks attributes that mean nothing in a check, and we keep them as bytes. It also
# decodes text, and reads what stands behind MESSAGE-INTEGRITY-SHA256, which it does not know.
UNPACKED_THERE = {kind for kind, _, _, unpack in aioice.ATTRIBUTES if unpack is not aioice.unpack_bytes}


def laxer(message: stun.Message) -> bool:
    """Whether one of those attributes is in the message."""
    others = {kind for kind, _ in message.others}
    text = not is_utf8(message.username or b"") or not is_utf8(message.error_reason)
    return text or bool(others & UNPACKED_THERE) or message.integrity_sha256 is not None


def is_utf8(data: bytes) -> bool:
    """Whether `data` is text."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def duplicated(data: bytes) -> bool:
    """Whether an attribute of ours comes twice (there the last one wins), or the message is a duplicate's victim."""
    seen: list[int] = []
    position = stun.HEADER_SIZE
    while position < len(data):
        seen.append(int.from_bytes(data[position : position + 2], "big"))
        position += 4 + (int.from_bytes(data[position + 2 : position + 4], "big") + 3) // 4 * 4
    return len(seen) != len(set(seen))


def assert_same(ours: stun.Message, theirs: aioice.Message) -> None:
    """All that both know is equal."""
    said = theirs.attributes
    assert ours.message_class == theirs.message_class
    assert ours.transaction_id == theirs.transaction_id
    assert ours.username == (said["USERNAME"].encode() if "USERNAME" in said else None)
    assert ours.priority == said.get("PRIORITY")
    assert ours.use_candidate == ("USE-CANDIDATE" in said)
    assert ours.controlling == said.get("ICE-CONTROLLING")
    assert ours.controlled == said.get("ICE-CONTROLLED")
    assert ours.integrity == said.get("MESSAGE-INTEGRITY")
    assert ours.fingerprint == ("FINGERPRINT" in said)
    assert ours.error_code == theirs.error_code
    if ours.xor_mapped_address is not None:
        address, port = ours.xor_mapped_address
        text, their_port = said["XOR-MAPPED-ADDRESS"]
        # An IPv4-mapped address in family 2 is the same 16 bytes to us: a flow key knows only one form of it.
        assert str(unpack_address(address)) in (text, text.removeprefix("::ffff:"))
        assert port == their_port


@given(data=hostile_bytes())
@settings(max_examples=400, deadline=None)
def test_stun_differs_from_aioice_only_where_explained(data: bytes) -> None:
    try:
        ours, reason = stun.parse(data), ""
    except MalformedPacket as error:
        ours, reason = None, error.reason
    try:
        theirs = aioice.parse_message(data)
    except (ValueError, struct.error):
        assert ours is None or laxer(ours) or duplicated(data)
        return
    if ours is None:
        assert reason in STRICTER, reason
    elif not duplicated(data) and ours.integrity_sha256 is None:
        assert_same(ours, theirs)


@given(message=messages())
@settings(max_examples=150, deadline=None)
def test_stun_what_we_sign_aioice_verifies(message: stun.Message) -> None:
    message.fingerprint = True
    data = message.serialize(KEY)
    if laxer(message) or duplicated(data):
        return
    theirs = aioice.parse_message(data)
    assert theirs.check_message_integrity(KEY)
    assert_same(stun.parse(data), theirs)


def test_stun_what_aioice_signs_we_verify() -> None:
    theirs = aioice.Message(aioice.Method.BINDING, aioice.Class.REQUEST)
    theirs.attributes.update(USERNAME="ours:theirs", PRIORITY=1)
    theirs.attributes["ICE-CONTROLLING"] = 2**63
    theirs.attributes["XOR-MAPPED-ADDRESS"] = ("2001:db8::1", 5000)
    theirs.add_message_integrity(KEY)
    ours = stun.parse(bytes(theirs))
    assert ours.verify(KEY)
    assert not ours.verify(b"another password")
    assert_same(ours, theirs)
    assert ours.xor_mapped_address == (pack_address(unpack_address(ours.xor_mapped_address[0])), 5000)
