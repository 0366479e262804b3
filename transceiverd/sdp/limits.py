"""Bounds of an offer (DESIGN 2.9). Over any of them the offer is malformed, and nothing of it is kept.

The defaults are several times what the largest real offers hold (Chromium 156 with audio, video and data: 171 lines,
6 KB; a host with many interfaces gathers some dozens of candidates).
"""

import msgspec


class SdpLimits(msgspec.Struct, frozen=True):
    """All counts are inclusive maxima."""

    bytes_max: int = 65_536
    """UTF-8 bytes of the whole offer."""
    lines_max: int = 2_000
    """Lines, empty ones included."""
    line_characters_max: int = 4_096
    """Characters of one line; an `a=sctp-init` or a long `a=fmtp` stays below 1,000."""
    sections_max: int = 16
    """Media sections. Each is answered, so they bound the answer and the call's blob too."""
    candidates_max: int = 256
    """Candidates of all sections together. They are counted and otherwise ignored."""
    formats_max: int = 64
    """Formats of one media section."""
    fingerprints_max: int = 8
    """Fingerprints of the session or of one section (aiortc sends three, one for each hash)."""
