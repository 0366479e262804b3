"""Attribute values: one function for each attribute that Ringline understands, and the table that finds it.

Called by `parse` for every `a=` line. An attribute that is not in the table is ignored (RFC 8866 5.13), and so is a
second one of a kind that can stand only once: the first counts, as with STUN attributes. A known attribute with a value
that breaks its grammar is an error everywhere, also in a section that will be rejected: it shows a sender at fault.
"""

import re
from collections.abc import Callable

from transceiverd.sdp.errors import MalformedSdp, quote
from transceiverd.sdp.limits import SdpLimits
from transceiverd.sdp.offer import Attributes, Fingerprint, RtpMap

MID_CHARACTERS_MAX = 64  # RFC 8829 5.2.1 asks for 3; long ones would eat the call's blob
UFRAG_CHARACTERS = (4, 256)  # RFC 8839 5.4
PASSWORD_CHARACTERS = (22, 256)  # RFC 8839 5.4
DIGEST_BYTES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}  # the hashes we trust (RFC 8122 5)
SETUPS = frozenset({"active", "passive", "actpass", "holdconn"})  # RFC 4145 4
PORT_MAX = 65_535
MESSAGE_SIZE_MAX = 2**63 - 1  # RFC 8841 6.1 sets no bound; this one keeps it a machine integer
CLOCK_RATE_MAX = 2**31 - 1
CHANNELS_MAX = 255

TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+", re.ASCII)  # RFC 8866 9, token
ICE_CHARACTERS = re.compile(r"[A-Za-z0-9+/]+", re.ASCII)  # RFC 8839 5.4, ice-char
DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
HEXADECIMAL_PAIRS = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*", re.ASCII)
RTPMAP = re.compile(r"([0-9]{1,3})[ \t]+([^ \t/]{1,64})/([0-9]{1,10})(?:/([0-9]{1,3}))?[ \t]*", re.ASCII)
FMTP = re.compile(r"([0-9]{1,3})(?:[ \t]+(.*))?", re.ASCII)

Setter = Callable[[Attributes, str, SdpLimits], None]


def malformed(name: str, value: str, wanted: str) -> MalformedSdp:
    """The error of a value that is not what its attribute wants."""
    return MalformedSdp("malformed_attribute", f"a={name}:{quote(value)} is not {wanted}", f"a={name}")


def number(name: str, value: str, highest: int) -> int:
    """A decimal number of an attribute."""
    if DIGITS.fullmatch(value) is None or int(value) > highest:
        raise malformed(name, value, f"a number from 0 to {highest}")
    return int(value)


def _set_mid(attributes: Attributes, value: str, limits: SdpLimits) -> None:
    if len(value) > MID_CHARACTERS_MAX or TOKEN.fullmatch(value) is None:
        raise malformed("mid", value, f"a token of 1 to {MID_CHARACTERS_MAX} characters (RFC 5888)")
    attributes.mid = attributes.mid or value


def _ice_text(name: str, value: str, bounds: tuple[int, int]) -> str:
    if not bounds[0] <= len(value) <= bounds[1] or ICE_CHARACTERS.fullmatch(value) is None:
        raise malformed(name, value, f"{bounds[0]} to {bounds[1]} letters, digits, + or / (RFC 8839 5.4)")
    return value


def _set_ufrag(attributes: Attributes, value: str, limits: SdpLimits) -> None:
    text = _ice_text("ice-ufrag", value, UFRAG_CHARACTERS)
    attributes.ice_ufrag = attributes.ice_ufrag or text


def _set_password(attributes: Attributes, value: str, limits: SdpLimits) -> None:
    # The message must not quote it: it would be a secret in a log.
    try:
        text = _ice_text("ice-pwd", value, PASSWORD_CHARACTERS)
    except MalformedSdp:
        raise malformed("ice-pwd", "…", "22 to 256 letters, digits, + or / (RFC 8839 5.4)") from None
    attributes.ice_password = attributes.ice_password or text


def _set_ice_options(attributes: Attributes, value: str, limits: SdpLimits) -> None:
    if attributes.ice_options is None:
        attributes.ice_options = tuple(value.split())


def _add_fingerprint(attributes: Attributes, value: str, limits: SdpLimits) -> None:
    algorithm, _, digest = value.partition(" ")
    algorithm, digest = algorithm.lower(), digest.strip()
    if len(attributes.fingerprints) + len(attributes.refused_fingerprints) >= limits.fingerprints_max:
        raise MalformedSdp(
            "too_many_fingerprints", f"more than {limits.fingerprints_max} a=fingerprint lines", "a=fingerprint"
        )
    if TOKEN.fullmatch(algorithm) is None or HEXADECIMAL_PAIRS.fullmatch(digest) is None:
        raise malformed("fingerprint", value, "a hash name and hexadecimal pairs joined by colons (RFC 8122)")
    if algorithm not in DIGEST_BYTES:
        attributes.refused_fingerprints.append(algorithm[:16])
    elif len(digest) != 3 * DIGEST_BYTES[algorithm] - 1:
        raise malformed("fingerprint", value, f"{DIGEST_BYTES[algorithm]} bytes long, as {algorithm} is")
    else:
        attributes.fingerprints.append(Fingerprint(algorithm, digest.upper()))


def _set_setup(attributes: Attributes, value: str, limits: SdpLimits) -> None:
    if value not in SETUPS:
        raise malformed("setup", value, "active, passive, actpass or holdconn (RFC 4145)")
    attributes.setup = attributes.setup or value


def _add_rtpmap(attributes: Attributes, value: str, limits: SdpLimits) -> None:
    found = RTPMAP.fullmatch(value)
    if found is None or TOKEN.fullmatch(found[2]) is None:
        raise malformed("rtpmap", value, "payload type, encoding/clock rate[/channels] (RFC 8866 6.6)")
    channels = None if found[4] is None else int(found[4])
    if int(found[3]) > CLOCK_RATE_MAX or (channels is not None and not 1 <= channels <= CHANNELS_MAX):
        raise malformed("rtpmap", value, "a sensible clock rate and number of channels")
    attributes.rtpmaps.setdefault(int(found[1]), RtpMap(found[2], int(found[3]), channels))


def _add_fmtp(attributes: Attributes, value: str, limits: SdpLimits) -> None:
    found = FMTP.fullmatch(value)
    if found is not None:  # the format of an m=application section may be a word: of no interest
        attributes.fmtps.setdefault(int(found[1]), found[2] or "")


def _add_group(attributes: Attributes, value: str, limits: SdpLimits) -> None:
    semantics, *mids = value.split()[: limits.sections_max + 1] or [""]
    if semantics == "BUNDLE" and len(attributes.bundle_groups) < limits.sections_max:
        attributes.bundle_groups.append(tuple(mids))


def _count_candidate(attributes: Attributes, value: str, limits: SdpLimits) -> None:
    attributes.candidates += 1


def _set_sctp_port(attributes: Attributes, value: str, limits: SdpLimits) -> None:
    attributes.sctp_port = number("sctp-port", value, PORT_MAX)


def _set_max_message_size(attributes: Attributes, value: str, limits: SdpLimits) -> None:
    attributes.max_message_size = number("max-message-size", value, MESSAGE_SIZE_MAX)


def _set_sctp_init(attributes: Attributes, value: str, limits: SdpLimits) -> None:
    attributes.sctp_init = attributes.sctp_init or value


VALUED: dict[str, Setter] = {
    "mid": _set_mid,
    "ice-ufrag": _set_ufrag,
    "ice-pwd": _set_password,
    "ice-options": _set_ice_options,
    "fingerprint": _add_fingerprint,
    "setup": _set_setup,
    "rtpmap": _add_rtpmap,
    "fmtp": _add_fmtp,
    "group": _add_group,
    "candidate": _count_candidate,
    "sctp-port": _set_sctp_port,
    "max-message-size": _set_max_message_size,
    "sctp-init": _set_sctp_init,
}

FLAGS = {
    "ice-lite": "ice_lite",
    "rtcp-mux": "rtcp_mux",
    "rtcp-mux-only": "rtcp_mux",  # RFC 8858: stronger, and says the same to us
    "rtcp-rsize": "rtcp_reduced_size",
    "bundle-only": "bundle_only",
}
