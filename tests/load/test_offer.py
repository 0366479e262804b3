"""What a caller offers is accepted, and what it takes from an answer is what stands there."""

import pytest

from tests.bottle import CLIENT_CONTEXT, fingerprints
from tests.sdp.offers import identity
from transceiverd.dtls.engine import Role
from transceiverd.load.offer import OPUS, Credentials, UnusableAnswer, build_offer, parse_answer
from transceiverd.sdp.answer import build_answer
from transceiverd.sdp.negotiate import NegotiationConfig, negotiate
from transceiverd.sdp.parse import parse_offer

CANDIDATE = "a=candidate:1 1 udp {priority} {address} {port} typ host\r\n"


def answer_with(*candidates: tuple[str, int]) -> str:
    """The answer of our own server, with these candidates instead of its own."""
    credentials = Credentials.fresh()
    offer = parse_offer(build_offer(credentials, fingerprints(CLIENT_CONTEXT)[0]))
    text = build_answer(negotiate(offer, NegotiationConfig()), identity())
    kept = [line for line in text.splitlines(keepends=True) if not line.startswith("a=candidate")]
    return "".join(kept) + "".join(CANDIDATE.format(priority=p, address=a, port=3478) for a, p in candidates)


def test_offer_is_negotiated_as_an_ordinary_browser_call() -> None:
    credentials = Credentials.fresh()
    negotiation = negotiate(parse_offer(build_offer(credentials, fingerprints(CLIENT_CONTEXT)[0])), NegotiationConfig())
    assert negotiation.remote_ufrag == credentials.ufrag
    assert negotiation.remote_password == credentials.password
    assert negotiation.setup == "active"
    assert negotiation.audio is not None
    assert [payload.payload_type for payload in negotiation.audio.payloads] == [OPUS]


def test_offer_answer_gives_credentials_role_and_payload_type() -> None:
    answer = parse_answer(answer_with(("127.0.0.1", 5)), loopback_only=True, prefer_loopback=True)
    assert (answer.ufrag, answer.password) == (identity().ufrag, identity().password)
    assert answer.fingerprints == identity().fingerprints
    assert answer.role is Role.SERVER
    assert answer.payload_type == OPUS
    assert (answer.address, answer.port) == ("127.0.0.1", 3478)


@pytest.mark.parametrize(
    ("candidates", "loopback_only", "prefer", "chosen"),
    [
        ([("127.0.0.1", 1), ("::1", 9)], True, True, "127.0.0.1"),  # IPv4 shares a socket
        ([("192.0.2.1", 9), ("127.0.0.1", 1)], True, True, "127.0.0.1"),
        ([("192.0.2.1", 9), ("127.0.0.1", 1)], False, True, "127.0.0.1"),
        ([("192.0.2.1", 3), ("192.0.2.2", 9)], False, False, "192.0.2.2"),
        ([("abc.local", 9), ("192.0.2.2", 1)], False, False, "192.0.2.2"),  # a name is never resolved
        ([("::1", 9)], True, True, "::1"),
    ],
)
def test_offer_answer_candidate_is_the_best_that_may_be_called(
    candidates: list[tuple[str, int]], loopback_only: bool, prefer: bool, chosen: str
) -> None:
    answer = parse_answer(answer_with(*candidates), loopback_only=loopback_only, prefer_loopback=prefer)
    assert answer.address == chosen


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (answer_with(("192.0.2.1", 9)), "--allow-remote"),
        (answer_with(("abc.local", 9)), "no candidate"),
        ("hello", "malformed answer"),
        ("v=0\r\nm=audio 0 UDP/TLS/RTP/SAVPF 111\r\n", "no audio"),
        (answer_with(("127.0.0.1", 9)).replace("opus/48000/2", "PCMU/8000"), "Opus was not accepted"),
    ],
)
def test_offer_unusable_answer_says_why(text: str, words: str) -> None:
    with pytest.raises(UnusableAnswer, match=words):
        parse_answer(text, loopback_only=True, prefer_loopback=True)
