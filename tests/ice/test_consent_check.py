"""A check judged natively: whatever it accepts, the agent would accept, and answer with the same bytes."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ice.helpers import KEY, address, check, message
from tests.ice.strategies import hostile_bytes, messages
from tests.peers import CLIENT_UFRAG, SERVER_UFRAG, flow
from transceiverd.ice import checks, stun
from transceiverd.ice.consent_check import judge

USERNAME = f"{SERVER_UFRAG}:{CLIENT_UFRAG}".encode()
OURS, THEIRS = f"{SERVER_UFRAG}:".encode(), CLIENT_UFRAG.encode()
IPV6 = flow(("2001:db8::7", 40001), ("2001:db8::1", 3478))


def assert_agent_would(data: bytes, source: bytes, key: bytes = KEY) -> bool:
    """Whether it was accepted; and if so, that every rule of the agent lets it pass."""
    judged = judge(data, USERNAME, key, source)
    if judged is None:
        return False
    request = stun.parse(data)
    assert checks.authenticate(request, OURS, THEIRS, key) is None
    assert request.unknown_required() == []
    assert request.controlled is None
    assert judged[1:] == (request.use_candidate, request.priority or 0)
    assert judged[0] == checks.success(request.transaction_id, source, key, request.integrity_sha256 is not None)
    return True


@pytest.mark.parametrize("source", [address(1), IPV6])
@pytest.mark.parametrize("nominate", [False, True])
def test_consent_check_usual_ones_are_answered(source: bytes, nominate: bool) -> None:
    assert assert_agent_would(check(7, nominate=nominate), source)
    browser = message(8)
    browser.others = ((0xC057, b"\0\1\0\n"), (stun.SOFTWARE, b"abc"))  # GOOG-NETWORK-INFO and a padded one
    assert assert_agent_would(browser.serialize(KEY), source)


def test_consent_check_cut_or_changed_anywhere_is_declined() -> None:
    whole = check(9, nominate=True)
    for size in range(len(whole)):
        assert judge(whole[:size], USERNAME, KEY, address(1)) is None
    for place in range(len(whole)):
        for bit in range(8):
            changed = whole[:place] + bytes((whole[place] ^ 1 << bit,)) + whole[place + 1 :]
            assert judge(changed, USERNAME, KEY, address(1)) is None


def test_consent_check_declines_what_needs_a_thought() -> None:
    """Each is sealed right: only what it says is unusual."""
    for change in (
        {"username": b"x" * 30 + b":cl1e"},
        {"username": None},
        {"controlled": 5, "controlling": None},
        {"others": ((0x0031, b"need"),)},
        {"others": ((stun.SOFTWARE, b""),) * 33},
        {"fingerprint": False},
        {"message_class": stun.INDICATION},
    ):
        request = message(3)
        for name, value in change.items():
            setattr(request, name, value)
        assert judge(request.serialize(KEY), USERNAME, KEY, address(1)) is None, change
    assert judge(check(3, sha256=True), USERNAME, KEY, address(1)) is None
    assert judge(check(3), USERNAME, KEY + b"x", address(1)) is None
    behind = stun.seal_sha1(KEY, stun.header(stun.REQUEST, bytes(12)) + stun.attribute(stun.USERNAME, USERNAME))
    assert judge(stun.seal_fingerprint(behind), USERNAME, KEY, address(1)) is not None
    behind += stun.attribute(stun.SOFTWARE, b"late")
    assert judge(stun.seal_fingerprint(behind), USERNAME, KEY, address(1)) is None


@settings(max_examples=100, deadline=None)
@given(messages(), st.binary(min_size=1, max_size=70), st.booleans(), st.booleans())
def test_consent_check_agrees_with_the_agent_about_any_message(
    request_: stun.Message, key: bytes, ours: bool, plain: bool
) -> None:
    if ours:
        request_.username, request_.message_class, request_.fingerprint = USERNAME, stun.REQUEST, True
    if plain:
        request_.integrity_sha256, request_.controlled, request_.error_code = None, None, None
        request_.xor_mapped_address = None
    data = request_.serialize(key)
    accepted = assert_agent_would(data, address(2), key)
    usual = plain and ours and all(kind >= stun.COMPREHENSION_OPTIONAL for kind, _ in request_.others)
    assert accepted or not usual


@settings(max_examples=100, deadline=None)
@given(hostile_bytes(), st.booleans())
def test_consent_check_agrees_with_the_agent_about_hostile_bytes(data: bytes, seal: bool) -> None:
    if seal and len(data) % 4 == 0 and len(data) >= stun.HEADER_SIZE:
        data = stun.seal_fingerprint(stun.seal_sha1(KEY, data))
    for size in range(len(data) + 1):
        assert_agent_would(data[:size], IPV6)


def test_consent_check_agrees_with_the_agent_about_thousands_of_shuffled_checks() -> None:
    """Attributes in any order, doubled, left out, behind the integrity; sealed right."""
    chance = random.Random(4)
    parts = [
        stun.attribute(stun.USERNAME, USERNAME),
        stun.attribute(stun.PRIORITY, b"\x6e\0\1\xff"),
        stun.attribute(stun.USE_CANDIDATE, b""),
        stun.attribute(stun.ICE_CONTROLLING, bytes(8)),
        stun.attribute(stun.SOFTWARE, b"soft"),
        stun.attribute(0xC057, b"\0\1\0\2"),
        stun.attribute(stun.ICE_CONTROLLED, bytes(8)),
        stun.attribute(stun.PRIORITY, b"\1\2\3"),
    ]
    weights = (6, 4, 2, 4, 2, 2, 1, 1)
    accepted = 0
    for _ in range(4000):
        body = b"".join(chance.choices(parts, weights, k=chance.randrange(6)))
        data = stun.header(stun.REQUEST, chance.randbytes(12)) + body
        data = stun.seal_sha1(KEY if chance.random() < 0.9 else b"wrong", data)
        if chance.random() < 0.1:
            data += chance.choice(parts)
        data = stun.seal_fingerprint(data)
        if chance.random() < 0.1:
            data = data[:-4] + chance.randbytes(4)
        accepted += assert_agent_would(data, chance.choice((address(3), IPV6)))
    assert 400 < accepted < 3600
