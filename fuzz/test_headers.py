"""For any input either a kind and our ufrag's place, or MalformedPacket with a known reason; twins agree; linear."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from fuzz.oracle import assert_linear, cuts, examples, verdict
from fuzz.strategies import dtls, mutation, rtcp, rtp, stun
from fuzz.strategies.ufrag import MACHINE_KEYS, ufrags
from relayd import headers
from tests.twins import load_compiled, load_uncompiled
from transceiverd.ice import stun as transceiver_stun

COMPILED = load_compiled("relayd.headers")
PLAIN = load_uncompiled("relayd.headers")
USERNAMES = st.builds(
    lambda ours, theirs: ours.encode() + b":" + theirs, ufrags(MACHINE_KEYS), st.binary(min_size=1, max_size=6)
)
CHECKS = stun.checks(USERNAMES)
PACKETS = st.one_of(CHECKS, mutation.mutated(CHECKS), stun.hostile(), dtls.hostile(), rtp.hostile(), rtcp.hostile())


def framed_cuts(data: bytes) -> Iterator[bytes]:
    """Cut at every byte; and where a STUN message can end, with a length that says so."""
    for part in cuts(data):
        yield part
        if len(part) >= transceiver_stun.HEADER_SIZE and len(part) % 4 == 0:
            yield transceiver_stun.with_length(part, len(part))


def check(part: bytes) -> None:
    """The invariant for one input."""
    ours = verdict(COMPILED.parse_binding_request, part, headers.REASONS)
    assert ours == verdict(PLAIN.parse_binding_request, part, headers.REASONS)
    kind = COMPILED.packet_kind(part, len(part))
    assert kind == PLAIN.packet_kind(part, len(part))
    assert kind in (-1, -2, -3, 1, 2, 3, 4)
    offset = COMPILED.binding_request_ufrag(part, len(part))
    assert offset == PLAIN.binding_request_ufrag(part, len(part))
    assert offset < 0 or part[offset : offset + 30].decode("latin-1") == ours


@examples(60)
@given(data=PACKETS)
def test_headers_any_bytes(data: bytes) -> None:
    for part in framed_cuts(data):
        check(part)


@examples(150)
@given(data=PACKETS)
def test_headers_take_linear_time(data: bytes) -> None:
    assert_linear(PLAIN.parse_binding_request, data, headers.REASONS, per_byte=2)


def parsed(data: bytes) -> transceiver_stun.Message | None:
    """By the transceiver's reader."""
    found = verdict(transceiver_stun.parse, data, transceiver_stun.REASONS)
    return None if isinstance(found, str) else found


@examples(200)
@given(data=st.one_of(CHECKS, mutation.mutated(CHECKS), stun.hostile()))
def test_headers_read_the_username_that_the_transceiver_reads(data: bytes) -> None:
    """The relay and the transceiver never take one request for two different calls.

    The one difference: the relay stops at FINGERPRINT, where the transceiver refuses what stands behind it.
    """
    offset = headers.binding_request_ufrag(data, len(data))
    message = parsed(data)
    if message is None or message.message_class != transceiver_stun.REQUEST:
        return
    whole = message.username
    if offset >= 0:
        assert whole is not None
        assert whole[:30] == data[offset : offset + 30]
    elif whole is not None:
        assert len(whole) < 32 or whole[30:31] != b":"
