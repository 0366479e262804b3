"""What the relay reads of a packet: kinds by RFC 7983 and 5761, and the USERNAME of a Binding request by RFC 8489.

Every rule holds for the compiled module and for its uncompiled twin.
"""

import itertools
from types import ModuleType

import pytest

from relayd.ufrag import ALPHABET
from shm.errors import MalformedPacket
from tests.relayd import packets
from tests.twins import load_both

UFRAG = ALPHABET[:30]
MODULES = load_both("relayd.headers")


def expected_kind(first: int, second: int) -> int:
    """RFC 7983 section 7 and RFC 5761 section 4, written as a list."""
    kinds = [(0, 3, "stun"), (4, 19, ""), (20, 63, "dtls"), (64, 127, ""), (128, 191, "rtp"), (192, 255, "")]
    (name,) = [name for low, high, name in kinds if low <= first <= high]
    if name == "rtp" and second in range(192, 224):
        name = "rtcp"
    return {"stun": 1, "dtls": 2, "rtp": 3, "rtcp": 4, "": -2}[name]


@pytest.mark.parametrize("headers", MODULES)
def test_headers_classify_every_pair_of_first_bytes(headers: ModuleType) -> None:
    for first, second in itertools.product(range(256), (0, 111, 191, 192, 200, 223, 224, 255)):
        assert headers.classify(first, second) == expected_kind(first, second), (first, second)


@pytest.mark.parametrize("headers", MODULES)
@pytest.mark.parametrize(
    ("packet", "smallest", "kind"),
    [(packets.stun(1), 20, 1), (packets.dtls(), 13, 2), (packets.rtp(), 12, 3), (packets.rtcp(), 8, 4)],
)
def test_headers_packet_below_its_fixed_header_is_too_short(
    headers: ModuleType, packet: bytes, smallest: int, kind: int
) -> None:
    assert headers.packet_kind(packet[:smallest], smallest) == kind
    for size in range(1, smallest):
        # A first byte alone says RTP even of RTCP; either is too short.
        assert headers.packet_kind(packet[:size], size) == headers.TOO_SHORT
    assert headers.packet_kind(b"", 0) == headers.EMPTY


def request(*attributes: bytes) -> bytes:
    return packets.stun(packets.BINDING_REQUEST, *attributes)


def username(text: str) -> bytes:
    return packets.attribute(packets.USERNAME, text.encode())


OTHER = "Z" * 30
INTEGRITY = packets.attribute(packets.MESSAGE_INTEGRITY, bytes(20))
INTEGRITY_SHA256 = packets.attribute(packets.MESSAGE_INTEGRITY_SHA256, bytes(32))
FINGERPRINT = packets.attribute(packets.FINGERPRINT, bytes(4))
UNKNOWN = packets.attribute(0x7F01, b"odd")

ACCEPTED = {
    "alone": request(username(f"{UFRAG}:peer")),
    "one character of theirs": request(username(f"{UFRAG}:p")),
    "after an unknown attribute with padding": request(UNKNOWN, username(f"{UFRAG}:peer")),
    "the first of two counts": request(username(f"{UFRAG}:peer"), username(f"{OTHER}:peer")),
    "before integrity": request(username(f"{UFRAG}:peer"), INTEGRITY, FINGERPRINT),
    "theirs with a colon": request(username(f"{UFRAG}:a:b")),
    "508 bytes": request(username(f"{UFRAG}:{'p' * 477}")),
}

REFUSED = {
    "cookie": ("stun cookie", packets.stun(1, username(f"{UFRAG}:peer"), cookie=0x2112A443)),
    "length not of 4": ("stun length", packets.stun(1, username(f"{UFRAG}:peer"), length=41)),
    "length too long": ("stun length", packets.stun(1, username(f"{UFRAG}:peer"), length=44)),
    "length too short": ("stun length", packets.stun(1, username(f"{UFRAG}:peer"), length=36)),
    "allocate": ("stun method", packets.stun(0x0003, username(f"{UFRAG}:peer"))),
    "goog-ping": ("stun method", packets.stun(0x0200)),
    "success response": ("stun response", packets.stun(packets.BINDING_SUCCESS, username(f"{UFRAG}:peer"))),
    "error response": ("stun response", packets.stun(packets.BINDING_ERROR)),
    "indication": ("stun indication", packets.stun(packets.BINDING_INDICATION)),
    "attribute beyond the end": ("stun attribute", request(b"\x00\x06\x00\x28" + bytes(4))),
    "padding beyond the end": ("stun length", packets.stun(1, b"\x7f\x01\x00\x01a")),
    "no attribute": ("stun without username", request()),
    "only after integrity": ("stun without username", request(INTEGRITY, username(f"{UFRAG}:peer"))),
    "only after sha256": ("stun without username", request(INTEGRITY_SHA256, username(f"{UFRAG}:peer"))),
    "only after fingerprint": ("stun without username", request(FINGERPRINT, username(f"{UFRAG}:peer"))),
    "ours too short": ("stun username form", request(username(f"{UFRAG[:29]}:peers"))),
    "ours too long": ("stun username form", request(username(f"{UFRAG}A:peer"))),
    "nothing of theirs": ("stun username form", request(username(f"{UFRAG}:"))),
    "no colon": ("stun username form", request(username("A" * 40))),
    "empty": ("stun username form", request(username(""))),
    "509 bytes": ("stun username form", request(username(f"{UFRAG}:{'p' * 478}"))),
    "second one is right, first is not": ("stun username form", request(username("short"), username(f"{UFRAG}:peer"))),
}


@pytest.mark.parametrize("headers", MODULES)
@pytest.mark.parametrize("name", ACCEPTED)
def test_headers_binding_request_gives_our_ufrag(headers: ModuleType, name: str) -> None:
    assert headers.parse_binding_request(ACCEPTED[name]) == UFRAG


@pytest.mark.parametrize("headers", MODULES)
@pytest.mark.parametrize("name", REFUSED)
def test_headers_binding_request_is_refused_with_its_reason(headers: ModuleType, name: str) -> None:
    reason, packet = REFUSED[name]
    with pytest.raises(MalformedPacket) as refusal:
        headers.parse_binding_request(packet)
    assert refusal.value.reason == reason


@pytest.mark.parametrize("headers", MODULES)
def test_headers_other_kinds_are_no_binding_request(headers: ModuleType) -> None:
    for packet in (packets.dtls(), packets.rtp(), packets.rtcp(), b"\x40" * 20, b""):
        with pytest.raises(MalformedPacket):
            headers.parse_binding_request(packet)
