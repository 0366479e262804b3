"""Every input that the native runs kept, in Python too: compiled and uncompiled twins say the same of it.

The native targets see only what is compiled. Their inputs are the best there are, so they go through the checks of the
hypothesis targets as well; `fuzz/branches.py` counts on them.
"""

from collections.abc import Callable

import pytest

from fuzz import test_headers, test_rtcp, test_rtp, test_sctp, test_stun
from fuzz.native.run import CORPUS

ROUTE_HEADER = 7  # bytes in front of a packet: see native/harness.pyx


def check_stun(data: bytes) -> None:
    """As it is, and with a length and FINGERPRINT that are right: as the native target tries it."""
    for framed in (data, *test_stun.reframed(data)):
        test_stun.check(framed)


def check_headers(data: bytes) -> None:
    """As it is, and with a length that is right."""
    for framed in test_headers.framed_cuts(data):
        test_headers.check(framed)


def check_sctp(data: bytes) -> None:
    """Behind the byte that says whether the checksum is put right; and as an INIT."""
    test_sctp.check_twins(data[1:])
    test_sctp.check_init(data[1:])


CHECKS: dict[str, Callable[[bytes], None]] = {
    "classify": check_headers,
    "route": lambda data: check_headers(data[ROUTE_HEADER:]),
    "rtp": test_rtp.check,
    "rtp_value": test_rtp.check,
    "rtcp": test_rtcp.check,
    "rtcp_value": test_rtcp.check,
    "stun": check_stun,
    "sctp": check_sctp,
}


@pytest.mark.parametrize("target", CHECKS)
def test_corpus_twins_agree(target: str) -> None:
    inputs = sorted((CORPUS / target).iterdir())
    assert inputs
    for path in inputs:
        CHECKS[target](path.read_bytes())
