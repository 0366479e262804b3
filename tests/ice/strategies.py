"""Hypothesis strategies for STUN: valid messages, and bytes that are nearly one. Shared with the fuzz targets."""

from hypothesis import strategies as st

from transceiverd.ice import stun

IPV4 = st.binary(min_size=4, max_size=4).map(lambda address: stun.IPV4_PREFIX + address)
IPV6 = st.binary(min_size=16, max_size=16).filter(lambda address: not address.startswith(stun.IPV4_PREFIX))
PORT = st.integers(0, 0xFFFF)
TIE_BREAKER = st.integers(0, 2**64 - 1)

# Types without a field of their own: the Chromium extensions, what RFC 8489 defines beside ours, and anything else.
OTHER_TYPES = st.one_of(
    st.sampled_from((0xC057, 0xC058, 0xC070, 0xC071, 0x8022, 0x8003, 0x0014, 0x0015, 0x001E, 0x0001, 0x000A, 0x0013)),
    st.integers(0, 0xFFFF),
).filter(
    lambda kind: (
        kind
        not in (
            stun.USERNAME,
            stun.PRIORITY,
            stun.USE_CANDIDATE,
            stun.ICE_CONTROLLED,
            stun.ICE_CONTROLLING,
            stun.XOR_MAPPED_ADDRESS,
            stun.ERROR_CODE,
            stun.MESSAGE_INTEGRITY,
            stun.MESSAGE_INTEGRITY_SHA256,
            stun.FINGERPRINT,
        )
    )
)


@st.composite
def messages(draw: st.DrawFn) -> stun.Message:
    """Any message that we can write and read."""
    message = stun.Message(
        draw(st.sampled_from((stun.REQUEST, stun.INDICATION, stun.SUCCESS, stun.ERROR))),
        draw(st.binary(min_size=12, max_size=12)),
    )
    message.username = draw(st.none() | st.binary(max_size=80))
    message.priority = draw(st.none() | st.integers(0, 2**32 - 1))
    message.use_candidate = draw(st.booleans())
    message.controlling = draw(st.none() | TIE_BREAKER)
    message.controlled = draw(st.none() | TIE_BREAKER)
    message.xor_mapped_address = draw(st.none() | st.tuples(IPV4 | IPV6, PORT))
    message.error_code = draw(st.none() | st.integers(300, 699))
    if message.error_code is not None:
        message.error_reason = draw(st.binary(max_size=20))
    message.others = tuple(draw(st.lists(st.tuples(OTHER_TYPES, st.binary(max_size=12)), max_size=4)))
    message.integrity = draw(st.none() | st.binary(min_size=20, max_size=20))
    message.integrity_sha256 = draw(st.none() | st.binary(min_size=32, max_size=32))
    message.fingerprint = draw(st.booleans())
    return message


def attributes() -> st.SearchStrategy[bytes]:
    """One attribute, its length often wrong."""
    kinds = st.one_of(
        st.sampled_from((0x0006, 0x0008, 0x0009, 0x001C, 0x0020, 0x0024, 0x0025, 0x8028, 0x8029, 0x802A, 0xC057)),
        st.integers(0, 0xFFFF),
    )
    return st.builds(
        lambda kind, value, lie: (
            kind.to_bytes(2, "big") + max(0, len(value) + lie).to_bytes(2, "big") + value + bytes(-len(value) % 4)
        ),
        kinds,
        st.one_of(st.binary(max_size=40), st.sampled_from((b"", bytes(4), bytes(8), bytes(20), bytes(32)))),
        st.sampled_from((0, 0, 0, 0, 0, 0, -1, 1, 4, 60000)),
    )


@st.composite
def hostile_bytes(draw: st.DrawFn) -> bytes:
    """Noise, a header with arbitrary attributes behind it, or a valid message with something done to it."""
    choice = draw(st.integers(0, 3))
    if choice == 0:
        return draw(st.binary(max_size=120))
    if choice == 1:
        body = b"".join(draw(st.lists(attributes(), max_size=40)))
        kind = draw(st.sampled_from((0x0001, 0x0011, 0x0101, 0x0111, 0x0003, 0x8001)))
        data = kind.to_bytes(2, "big") + b"\0\0" + stun.MAGIC_COOKIE_BYTES + draw(st.binary(min_size=12, max_size=12))
        data = stun.with_length(data + body, len(data + body))
        return stun.seal_fingerprint(data) if draw(st.booleans()) else data
    data = draw(messages()).serialize(b"key" if draw(st.booleans()) else None)
    if choice == 2:
        return data[: draw(st.integers(0, len(data)))]
    at = draw(st.integers(0, len(data) - 1))
    return data[:at] + bytes((data[at] ^ draw(st.integers(1, 255)),)) + data[at + 1 :]
