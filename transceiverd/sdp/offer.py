"""An offer after parsing: what Ringline understands of it, and which level an attribute is taken from.

Made by `parse`, read by `negotiate`. Attributes of the session apply to every section that does not state its own
(RFC 8866 5.13; for ICE credentials RFC 8839 5.4, fingerprints RFC 8122 5, setup RFC 4145 4, direction RFC 8866 6.7).
What a section does not use is still held here, because the grammar does not depend on the kind of media.
"""

from typing import NamedTuple

import msgspec

DIRECTIONS = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})


class Fingerprint(NamedTuple):
    """`a=fingerprint` (RFC 8122 5): a lower-case hash name and upper-case hexadecimal pairs joined by colons."""

    algorithm: str
    value: str

    @classmethod
    def of_digest(cls, algorithm: str, digest: bytes) -> "Fingerprint":
        """The fingerprint of a certificate's digest."""
        return cls(algorithm, digest.hex(":").upper())

    def __str__(self) -> str:
        return f"{self.algorithm} {self.value}"


class RtpMap(msgspec.Struct, frozen=True):
    """`a=rtpmap` (RFC 8866 6.6). The encoding name as written; compare it without case."""

    encoding: str
    clock_rate: int
    channels: int | None = None

    def __str__(self) -> str:
        suffix = "" if self.channels is None else f"/{self.channels}"
        return f"{self.encoding}/{self.clock_rate}{suffix}"


class Attributes(msgspec.Struct):
    """The attributes of the session, or of one media section."""

    mid: str | None = None
    setup: str | None = None
    ice_ufrag: str | None = None
    ice_password: str | None = None
    ice_options: tuple[str, ...] | None = None
    ice_lite: bool = False
    direction: str | None = None
    rtcp_mux: bool = False
    rtcp_reduced_size: bool = False
    bundle_only: bool = False
    candidates: int = 0
    sctp_port: int | None = None
    max_message_size: int | None = None
    sctp_init: str | None = None
    """Base64 as written; decoded only where data channels are accepted."""
    fingerprints: list[Fingerprint] = []
    refused_fingerprints: list[str] = []
    """Hash names that were offered and are not trusted (md5, md2, sha-1, ...)."""
    rtpmaps: dict[int, RtpMap] = {}
    fmtps: dict[int, str] = {}
    bundle_groups: list[tuple[str, ...]] = []


class MediaSection(msgspec.Struct):
    """One `m=` line (RFC 8866 5.14) and what follows it."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    attributes: Attributes

    @property
    def disabled(self) -> bool:
        """Port zero: the offerer itself has no use for it, unless it waits for its BUNDLE group (RFC 9143 6)."""
        return self.port == 0 and not self.attributes.bundle_only


class Offer(msgspec.Struct):
    """A whole offer."""

    session: Attributes
    sections: list[MediaSection]

    def section_of(self, mid: str) -> MediaSection | None:
        """The section with that identification tag."""
        return next((section for section in self.sections if section.attributes.mid == mid), None)

    def bundle_group(self, section: MediaSection) -> tuple[str, ...]:
        """The BUNDLE group that holds the section; empty when there is none."""
        mid = section.attributes.mid
        return next((group for group in self.session.bundle_groups if mid is not None and mid in group), ())

    def ice_credentials(self, section: MediaSection) -> tuple[str, str] | None:
        """Username fragment and password; both from the same level (RFC 8839 5.4)."""
        for level in (section.attributes, self.session):
            if level.ice_ufrag is not None and level.ice_password is not None:
                return level.ice_ufrag, level.ice_password
        return None

    def fingerprints(self, section: MediaSection) -> list[Fingerprint]:
        """The section's own fingerprints replace the session's (RFC 8122 5)."""
        own = section.attributes
        return own.fingerprints if own.fingerprints or own.refused_fingerprints else self.session.fingerprints

    def refused_fingerprints(self, section: MediaSection) -> list[str]:
        """Hash names offered at the level that counts, and not trusted."""
        own = section.attributes
        return own.refused_fingerprints or ([] if own.fingerprints else self.session.refused_fingerprints)

    def setup(self, section: MediaSection) -> str | None:
        """`a=setup` as offered, or None where there is none."""
        return section.attributes.setup or self.session.setup

    def direction(self, section: MediaSection) -> str:
        """`sendrecv` where neither level says (RFC 8866 6.7)."""
        return section.attributes.direction or self.session.direction or "sendrecv"

    def ice_options(self, section: MediaSection) -> tuple[str, ...]:
        """Options of both levels; the session's hold for every section (RFC 8839 5.6)."""
        return (self.session.ice_options or ()) + (section.attributes.ice_options or ())
