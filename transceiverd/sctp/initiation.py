"""The INIT chunk's contents both ways: what we offer, what the peer can do (RFC 9260 5.1, 3.3.2; RFC 5061 4.2.7).

`make_init` gives the chunk that the ordinary handshake sends and that SNAP puts into the answer (`a=sctp-init`).
"""

from collections.abc import Callable
from typing import NamedTuple

from transceiverd.sctp import chunks
from transceiverd.sctp.chunks import Init, Parameter
from transceiverd.sctp.config import DataChannelConfig

STATE_COOKIE = 7
UNRECOGNIZED_PARAMETER = 8
ZERO_CHECKSUM_ACCEPTABLE = 0x8001  # RFC 9653 4
SUPPORTED_EXTENSIONS = 0x8008  # RFC 5061 4.2.7
FORWARD_TSN_SUPPORTED = 0xC000  # RFC 3758 3.1
DTLS_DETECTS_ERRORS = b"\0\0\0\1"  # EDMID of SCTP over DTLS, RFC 9653 8

STREAMS = 65_535  # both ways, RFC 8831 6.2
# Parameters that RFC 9260 3.3.2 and the extensions define and we need not act on: never reported as unrecognized.
UNDERSTOOD = frozenset({5, 6, 7, 9, 11, 12, 0x8000, 0x8002, 0x8003, 0x8004, SUPPORTED_EXTENSIONS,
                        ZERO_CHECKSUM_ACCEPTABLE, FORWARD_TSN_SUPPORTED})  # fmt: skip

RandomBytes = Callable[[int], bytes]


class Features(NamedTuple):
    """What the peer can do; packed into the state cookie as four bits."""

    partial: bool
    interleaving: bool
    reset: bool
    zero_checksum: bool

    def pack(self) -> int:
        """As bits."""
        return self.partial | self.interleaving << 1 | self.reset << 2 | self.zero_checksum << 3

    @classmethod
    def unpack(cls, bits: int) -> "Features":
        """From bits."""
        return cls(*(bool(bits & 1 << place) for place in range(4)))


NO_FEATURES = Features(False, False, False, False)


def features_of(init: Init) -> Features:
    """What an INIT or INIT ACK announces. The first of several equal parameters counts."""
    parameters: dict[int, bytes] = {}
    for kind, value in init.parameters:
        parameters.setdefault(kind, value)
    extensions = parameters.get(SUPPORTED_EXTENSIONS, b"")
    return Features(
        partial=FORWARD_TSN_SUPPORTED in parameters or chunks.FORWARD_TSN in extensions,
        interleaving=chunks.I_DATA in extensions,
        reset=chunks.RE_CONFIG in extensions,
        zero_checksum=parameters.get(ZERO_CHECKSUM_ACCEPTABLE) == DTLS_DETECTS_ERRORS,
    )


def our_parameters(config: DataChannelConfig) -> tuple[Parameter, ...]:
    """What we offer: FORWARD-TSN, RE-CONFIG, and as configured I-DATA and zero checksums."""
    extensions = [chunks.RE_CONFIG, chunks.FORWARD_TSN]
    if config.interleaving:
        extensions += [chunks.I_DATA, chunks.I_FORWARD_TSN]
    zero = ((ZERO_CHECKSUM_ACCEPTABLE, DTLS_DETECTS_ERRORS),) if config.zero_checksum else ()
    return ((FORWARD_TSN_SUPPORTED, b""), *zero, (SUPPORTED_EXTENSIONS, bytes(extensions)))


def new_init(config: DataChannelConfig, random_bytes: RandomBytes) -> Init:
    """An INIT with a fresh tag (never 0) and initial TSN."""
    tag = int.from_bytes(random_bytes(4), "big") or 1
    initial_tsn = int.from_bytes(random_bytes(4), "big")
    return Init(tag, config.receive_buffer_bytes, STREAMS, STREAMS, initial_tsn, our_parameters(config))


def make_init(config: DataChannelConfig, random_bytes: RandomBytes) -> bytes:
    """The whole INIT chunk for `a=sctp-init`; give it to the association as `local_init`."""
    return new_init(config, random_bytes).serialize()


def unrecognized(init: Init) -> tuple[Parameter, ...]:
    """UNRECOGNIZED PARAMETER answers for the parameters that ask for one (RFC 9260 3.2.1)."""
    answers = []
    for kind, value in init.parameters:
        if kind in UNDERSTOOD:
            continue
        if kind & 0x4000:
            whole = kind.to_bytes(2, "big") + (len(value) + 4).to_bytes(2, "big") + value
            answers.append((UNRECOGNIZED_PARAMETER, whole))
        if not kind & 0x8000:
            break  # and stop looking
    return tuple(answers[:4])
