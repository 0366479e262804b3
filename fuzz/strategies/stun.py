"""STUN: the strategies of tests/ice, and checks as browsers send them, whole, signed, and tampered with."""

from hypothesis import strategies as st

from fuzz.strategies.mutation import mutated
from fuzz.strategies.ufrag import MACHINE_KEYS, ufrags
from tests.ice.strategies import hostile_bytes, messages
from transceiverd.ice import stun

__all__ = ["KEY", "checks", "hostile", "messages"]

KEY = b"a password of 24 letters"


@st.composite
def checks(draw: st.DrawFn, username: st.SearchStrategy[bytes] | None = None) -> bytes:
    """A Binding request as ICE sends it: signed, with FINGERPRINT, and what Chromium adds."""
    message = stun.Message(stun.REQUEST, draw(st.binary(min_size=12, max_size=12)))
    ours = ufrags(MACHINE_KEYS).map(lambda text: f"{text}:cl1e".encode())
    message.username = draw(ours if username is None else username)
    message.priority = draw(st.integers(0, 2**32 - 1))
    message.use_candidate = draw(st.booleans())
    message.controlling = draw(st.integers(0, 2**64 - 1))
    message.others = tuple(
        draw(
            st.lists(
                st.sampled_from([(0xC057, bytes(4)), (0x8022, b"x"), (0xC070, b""), (0xC071, bytes(8))]), max_size=3
            )
        )
    )
    message.fingerprint = True
    return message.serialize(KEY, draw(st.booleans()))


def _resealed(data: bytes) -> bytes:
    """With a length and FINGERPRINT that fit again, so that the damage reaches what lies behind those two walls."""
    body = data[: stun.HEADER_SIZE + (len(data) - stun.HEADER_SIZE) // 4 * 4]
    return stun.seal_fingerprint(stun.with_length(body, len(body)))


def hostile() -> st.SearchStrategy[bytes]:
    """Anything; also damage that is well framed."""
    damaged = mutated(checks())
    framed = damaged.filter(lambda data: len(data) >= stun.HEADER_SIZE).map(_resealed)
    return st.one_of(hostile_bytes(), checks(), damaged, framed)
