"""Every bound of a parser: what lies on it is taken, one more is refused with the bound's own reason.

Random inputs hardly ever come near a bound of 64 chunks or 65,536 bytes; so these are made on purpose.
"""

import socket
from collections.abc import Callable
from ipaddress import ip_address
from types import ModuleType
from typing import Any

import msgspec
import pytest

from fuzz.oracle import attempt, verdict
from shm import attach
from shm.flowkey import KEY_SIZE, TRANSPORT_UDP, FlowKey, key_client, unpack_address
from tests.dtls.test_records import pair
from tests.sdp.offers import DATA, FINGERPRINT, TRANSPORT, audio_offer, text
from tests.twins import load_both
from transceiverd.dtls import records
from transceiverd.dtls.messages import Fragment, parse_fragments
from transceiverd.dtls.suites import SUITES
from transceiverd.sctp import chunks, dcep
from transceiverd.sdp.errors import SdpError
from transceiverd.sdp.limits import SdpLimits
from transceiverd.sdp.negotiate import NegotiationConfig, negotiate
from transceiverd.sdp.parse import parse_offer

LIMITS = SdpLimits()
STUN = load_both("transceiverd.ice.stun")
SCTP = load_both("transceiverd.sctp.packet")
HEADERS = load_both("relayd.headers")


def attribute(kind: int, value: bytes) -> bytes:
    """One STUN attribute with its padding."""
    return kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)


def binding_request(attributes: bytes) -> bytes:
    """A request with these attributes."""
    return b"\0\1" + len(attributes).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + b"transaction!" + attributes


@pytest.mark.parametrize("stun", STUN)
def test_bounds_of_stun(stun: ModuleType) -> None:
    def said(*attributes: bytes) -> Any:
        found = verdict(stun.parse, binding_request(b"".join(attributes)), stun.REASONS)
        return found if isinstance(found, str) else ""

    many = [attribute(0x8100 + n, b"") for n in range(stun.OTHERS_MAX + 1)]
    assert said(*many[:-1]) == ""
    assert said(*many) == "stun-attributes-many"
    assert said(attribute(stun.USERNAME, bytes(stun.USERNAME_SIZE_MAX))) == ""
    assert said(attribute(stun.USERNAME, bytes(stun.USERNAME_SIZE_MAX + 1))) != ""


@pytest.mark.parametrize(
    ("kind", "value"),
    [(0x0006, b"a:b"), (0x0024, bytes(4)), (0x802A, bytes(8)), (0x8029, bytes(8)), (0x0020, b"\0\1\x13\x88" + bytes(4)),
     (0x0009, b"\0\0\4\1")],
)  # fmt: skip
@pytest.mark.parametrize("stun", STUN)
def test_bounds_first_attribute_wins(stun: ModuleType, kind: int, value: bytes) -> None:
    """Of every kind: a second one changes nothing, and is not even looked at."""
    once = stun.parse(binding_request(attribute(kind, value))).fields()
    for second in (value, b"", value[:-1] + b"\xff"):
        assert stun.parse(binding_request(attribute(kind, value) + attribute(kind, second))).fields() == once


@pytest.mark.parametrize("headers", HEADERS)
def test_bounds_of_a_username(headers: ModuleType) -> None:
    def place(value: bytes, *before: bytes) -> int:
        data = binding_request(b"".join(before) + attribute(0x0006, value))
        offset: int = headers.binding_request_ufrag(data, len(data))
        return offset

    ours = b"u" * 30
    assert place(ours + b":x") == 24
    assert place(ours + b":") == place(ours + b"x" * 2) == -11
    assert place(ours + b":" + b"x" * 477) == 24
    assert place(ours + b":" + b"x" * 478) == -11
    assert place(ours + b":x", attribute(0x8022, b"software")) == 36
    for integrity in (0x0008, 0x001C, 0x8028):
        assert place(ours + b":x", attribute(integrity, bytes(4))) == -10


@pytest.mark.parametrize("sctp", SCTP)
def test_bounds_of_sctp(sctp: ModuleType) -> None:
    def said(*parts: bytes) -> Any:
        return verdict(sctp.parse_packet, sctp.serialize_packet(1, 2, 3, list(parts)), frozenset(sctp.REASONS))

    signal = chunks.Signal(11).serialize()
    assert len(said(*[signal] * sctp.CHUNKS_MAX).chunks) == sctp.CHUNKS_MAX
    assert said(*[signal] * (sctp.CHUNKS_MAX + 1)) == "sctp-chunks-many"
    full = chunks.ErrorChunk(((3, b""),) * sctp.PARAMETERS_MAX)
    assert said(full.serialize()).chunks == [full]
    assert said(chunks.ErrorChunk(((3, b""),) * (sctp.PARAMETERS_MAX + 1)).serialize()) == "sctp-parameters-many"
    for short in (b"\x40\0\0\x10" + bytes(12), b"\x03\0\0\x0c" + bytes(8), b"\xc0\0\0\x09" + bytes(8)):
        assert said(short) == "sctp-chunk-short"  # I-DATA, SACK, FORWARD-TSN with a piece of a stream
    for wrong in (
        b"\x03\0\0\x14" + bytes(8) + b"\0\1\0\1" + bytes(4),
        b"\x03\0\0\x10" + bytes(8) + b"\0\0\0\2" + bytes(4),
    ):
        assert said(wrong) == "sctp-sack-length"
    assert said(b"\x09\0\0\x06\0\x03") == said(b"\x09\0\0\x08\0\x03\0\x02") == "sctp-parameter-length"
    assert said(b"\x01\0\0\x14" + bytes(16)) == "sctp-init-value"
    assert said(b"\x01\0\0\x05" + bytes(4)) == "sctp-chunk-short"


def test_bounds_of_an_init_alone() -> None:
    init = chunks.Init(1, 65536, 5, 5, 9, ())
    for sctp in SCTP:
        assert sctp.parse_init(init.serialize()) == init
        for other in (b"", init.serialize() * 2, chunks.Signal(11).serialize(), init._replace(ack=True).serialize()):
            assert verdict(sctp.parse_init, other, frozenset(sctp.REASONS)) == "sctp-init-value"


def test_bounds_of_dcep() -> None:
    whole = dcep.Open("label", "", True, None, None, 0).serialize()
    assert verdict(dcep.parse_open, b"\2" + whole[1:], dcep.REASONS) == "dcep-type"
    assert verdict(dcep.parse_open, whole + b"x", dcep.REASONS) == "dcep-length"
    assert verdict(dcep.parse_open, whole[:1] + b"\3" + whole[2:], dcep.REASONS) == "dcep-channel-type"


def test_bounds_of_dtls_records() -> None:
    record = records.Record(23, 0xFEFD, 1, 0, b"x").serialize()
    most = records.RECORDS_A_DATAGRAM_MAX
    assert len(records.parse_records(record * most)) == most
    assert verdict(records.parse_records, record * (most + 1), {"too many records"}) == "too many records"


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_bounds_of_a_sealed_record(suite: Any) -> None:
    """The longest plaintext is opened; a byte more, or less than a tag, is refused before any work."""
    client, server = pair(suite)
    layer = records.RecordLayer12(server)
    longest = bytes(records.PLAINTEXT_BYTES_MAX)
    (record,) = records.parse_records(records.RecordLayer12(client).seal(23, longest))
    for body, reason in ((record.body[:7], "record too short"), (record.body + b"x", "record too long")):
        found = verdict(layer.open, msgspec.structs.replace(record, body=body), {"record too short", "record too long"})  # type: ignore[arg-type]
        assert found == reason
    assert layer.open(record) == longest
    assert verdict(layer.open, record, {"record replayed"}) == "record replayed"  # type: ignore[arg-type]


def test_bounds_of_the_replay_window() -> None:
    """Records that come late are opened once, in whatever order; those behind the window never."""
    client, server = pair(SUITES[0])
    sealer, opener = records.RecordLayer12(client), records.RecordLayer12(server)
    sent = [records.parse_records(sealer.seal(23, bytes([n])))[0] for n in range(100)]
    for n in (5, 3, 4, 99, 36):
        assert opener.open(sent[n]) == bytes([n])
    for n in (5, 3, 4, 99, 36, 35, 0):
        assert verdict(opener.open, sent[n], {"record replayed"}) == "record replayed"  # type: ignore[arg-type]


SECTION = "m=video 0 RTP/AVP 96"
SDP_BOUNDS: dict[str, tuple[int, Callable[[int], str]]] = {
    "too_many_lines": (LIMITS.lines_max - audio_offer().count("\n"), lambda n: audio_offer() + "\n" * n),
    "line_too_long": (LIMITS.line_characters_max - 4, lambda n: audio_offer("a=x:" + "y" * n)),
    "too_many_sections": (LIMITS.sections_max - 1, lambda n: audio_offer(*[SECTION] * n)),
    "too_many_candidates": (LIMITS.candidates_max, lambda n: audio_offer(*["a=candidate:1"] * n)),
    "too_many_fingerprints": (
        LIMITS.fingerprints_max - 1,
        lambda n: audio_offer(*[f"a=fingerprint:{FINGERPRINT}"] * n),
    ),
    "too_many_formats": (LIMITS.formats_max, lambda n: audio_offer("m=video 9 RTP/AVP " + " ".join(["96"] * n))),
}


def refusal(body: str | bytes) -> str:
    """The code, or nothing."""
    found = attempt(SdpError, parse_offer, body)
    return found.code if isinstance(found, SdpError) else ""


@pytest.mark.parametrize("code", SDP_BOUNDS)
def test_bounds_of_sdp(code: str) -> None:
    most, offer = SDP_BOUNDS[code]
    assert refusal(offer(most)) == ""
    assert refusal(offer(most + 1)) == code


def test_bounds_of_sdp_bytes() -> None:
    """Of text and of bytes alike, UTF-8 counted; long lines are cut to fit their own bound."""
    offer = audio_offer()
    filled = offer
    while len(filled) < LIMITS.bytes_max:
        line = "a=x:" + "y" * 3000 + "\r\n"
        filled += line[: LIMITS.bytes_max - len(filled)]
    assert refusal(filled) == refusal(filled.encode()) == ""
    assert refusal(filled + "\n") == refusal(filled.encode() + b"\n") == "sdp_too_large"
    assert refusal(filled[:-1] + "é") == "sdp_too_large"
    assert refusal(b"v=0\r\n\xff") == "not_utf8"


@pytest.mark.parametrize(
    ("offer", "code"),
    [
        (audio_offer().replace("v=0", "v=1"), "not_sdp"),
        ("v=0\r\ns=-\r\n", "no_media"),
        (audio_offer("m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0"), "duplicate_mid"),
        (audio_offer("a=rtpmap:96 x y/8000"), "malformed_attribute"),
        (audio_offer("a=rtpmap:96 x/8000/0"), "malformed_attribute"),
        (audio_offer("a=fingerprint:sha-256 AB:CD"), "malformed_attribute"),
        (audio_offer("a=mid"), "malformed_attribute"),
    ],
)
def test_bounds_of_sdp_lines(offer: str, code: str) -> None:
    assert refusal(offer) == code


@pytest.mark.parametrize(
    ("offer", "code"),
    [
        (audio_offer(without="a=fingerprint"), "missing_fingerprint"),
        (audio_offer("a=fingerprint:sha-1 " + ":".join(["AB"] * 20), without="a=fingerprint"), "fingerprint_refused"),
        (audio_offer(without="a=rtcp-mux"), "rtcp_mux_required"),
        (audio_offer(without="m=audio"), "no_media"),
        (audio_offer().replace("m=audio 9", "m=audio 0"), "section_disabled"),
        (audio_offer("a=bundle-only").replace("m=audio 9", "m=audio 0"), "bundle_only_alone"),
        (audio_offer().replace("UDP/TLS/RTP/SAVPF", "UDP/X"), "unsupported_protocol"),
        (audio_offer().replace("111 0 8", "96 x 72 1000"), "no_common_codec"),
    ],
)
def test_bounds_of_what_is_accepted(offer: str, code: str) -> None:
    found = attempt(SdpError, lambda: negotiate(parse_offer(offer), NegotiationConfig()))
    assert isinstance(found, SdpError)
    assert found.code == code


@pytest.mark.parametrize(
    ("known", "strange"), [("webrtc-datachannel", "x"), ("UDP/DTLS/SCTP", "UDP/X"), (" 9 ", " 0 ")]
)
def test_bounds_of_a_data_section(known: str, strange: str) -> None:
    """A data section that is no data channel is rejected alone; the call goes on."""
    data = text([line.replace(known, strange) for line in DATA], TRANSPORT)
    negotiation = negotiate(parse_offer(audio_offer() + data), NegotiationConfig(data_channels=True))
    assert negotiation.data is None
    assert negotiation.audio is not None


def test_bounds_of_a_handshake_fragment() -> None:
    whole = Fragment(1, 5, 0, 0, b"hello").serialize()
    assert parse_fragments(whole * 2)[1].body == b"hello"
    outside = Fragment(1, 5, 0, 1, b"hello").serialize()
    empty = Fragment(1, 5, 0, 0, b"").serialize()
    for data, reason in (
        (whole[:11], "handshake message cut"), (whole[:-1], "handshake message cut"),
        (whole + b"x", "handshake message cut"),
        (outside, "handshake fragment outside its message"), (empty, "handshake fragment empty"),
    ):  # fmt: skip
        assert verdict(parse_fragments, data, {reason}) == reason


def test_bounds_of_a_record_header() -> None:
    header = records.Record(23, 0xFEFD, 1, 0, b"").serialize()[:-2]
    for size, reason in ((records.BODY_BYTES_MAX, "record cut"), (records.BODY_BYTES_MAX + 1, "record too long")):
        assert verdict(records.parse_records, header + size.to_bytes(2, "big"), {reason}) == reason


def test_bounds_of_a_flow_key() -> None:
    for wrong in (b"", bytes(47), bytes(49)):
        assert verdict(FlowKey.unpack, wrong, {"flow-key-size"}) == "flow-key-size"
        assert verdict(key_client, wrong, {"flow-key-size"}) == "flow-key-size"  # type: ignore[arg-type]
    key = FlowKey(TRANSPORT_UDP, ip_address("10.0.0.1"), 1, ip_address("::1"), 2).pack()
    assert FlowKey.unpack(key).pack() == key
    reasons = {"flow-key-transport", "flow-key-padding"}
    for place in range(40, KEY_SIZE):
        changed = key[:place] + b"\x7f" + key[place + 1 :]
        found = verdict(FlowKey.unpack, changed, reasons)
        assert found in reasons or found.pack() == changed
    for wrong in (b"", bytes(4), bytes(17)):
        assert verdict(unpack_address, wrong, {"address-size"}) == "address-size"


def test_bounds_of_a_control_message() -> None:
    """A datagram that is too long is refused; the end is no message."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.send(b"x" * (attach.MESSAGE_MAX + 1))
        with pytest.raises(attach.MalformedMessage, match="too long"):
            attach.receive(ours)
        attach.send(theirs, attach.Ready(2))
        assert attach.receive(ours) == (attach.Ready(2), [])
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)  # so that something else than rights comes along
        attach.send(theirs, attach.Ready(3))
        assert attach.receive(ours) == (attach.Ready(3), [])
        theirs.shutdown(socket.SHUT_WR)
        assert isinstance(attempt(EOFError, attach.receive, ours), EOFError)
