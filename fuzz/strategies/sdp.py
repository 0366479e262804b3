"""SDP offers: real ones, and what somebody with an editor and bad intentions makes of them."""

from hypothesis import strategies as st

from fuzz.strategies.mutation import mutated
from tests.sdp.offers import NAMES, sample
from transceiverd.sdp.attributes import FLAGS, VALUED

SAMPLES = [sample(name) for name in NAMES]
AWKWARD_VALUES = [
            "", "0", "-1", "1" * 40, "abcd", "a" * 300, "sha-256 AB", "md5 " + "AB:" * 15 + "AB", "actpass", "holdconn",
            "111 opus/48000/2", "0 PCMU/8000", "999 x/1", "BUNDLE 0 1 2", "BUNDLE " + "0 " * 60, "LS 0 1",
            "1 1 udp 1 printer.local 9 typ host", "65536", "5000", "AQAAHgAA", "not base64!",
            "\x00", "x", "x/1", "0 x/-1", "/", " ", "\u2028", "é",
        ]  # fmt: skip
VALUES = st.one_of(st.sampled_from(AWKWARD_VALUES), st.text(max_size=20))
NAMES_OF_ATTRIBUTES = st.sampled_from([*VALUED, *FLAGS, "sendrecv", "inactive", "extmap", "ssrc", "unknown"])
ATTRIBUTES = st.builds(lambda name, value: f"a={name}:{value}" if value else f"a={name}", NAMES_OF_ATTRIBUTES, VALUES)
MEDIA = st.builds(
    lambda kind, port, protocol, formats: f"m={kind} {port} {protocol} {formats}",
    st.sampled_from(["audio", "video", "application", "text", "aud io", ""]),
    st.sampled_from(["0", "9", "65535", "65536", "9/2", "-1", "x", "9" * 30]),
    st.sampled_from(["UDP/TLS/RTP/SAVPF", "UDP/DTLS/SCTP", "RTP/AVP", "X", "/", ""]),
    st.sampled_from(["111", "0 8", "webrtc-datachannel", "111 " * 70, "", "999 1000", "٣"]),
)
LINES = st.one_of(
    ATTRIBUTES, MEDIA, st.sampled_from(["v=0", "b=AS:1", "c=IN IP4 0.0.0.0", "x", "=", "a=", "m="]), VALUES
)


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """A real offer with lines put in, taken out, doubled or moved."""
    lines = draw(st.sampled_from(SAMPLES)).decode().split("\r\n")
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(lines)))
        edit = draw(st.integers(0, 3))
        if edit == 0:
            lines.insert(at, draw(LINES))
        elif edit == 1 and lines:
            del lines[at % len(lines)]
        elif edit == 2 and lines:
            lines.insert(at, lines[at % len(lines)])
        elif lines:
            lines.append(lines.pop(at % len(lines)))
    return draw(st.sampled_from(["\r\n", "\n"])).join(lines).encode("utf-8", "surrogatepass")


@st.composite
def small(draw: st.DrawFn) -> bytes:
    """A few lines, short enough to be cut at every byte."""
    head = draw(st.sampled_from(["v=0\n", "v=0\r\n", "v=1\n", ""]))
    return (head + "\n".join(draw(st.lists(LINES, max_size=6)))).encode("utf-8", "surrogatepass")


def hostile() -> st.SearchStrategy[bytes]:
    """Anything that an HTTP body may hold."""
    return st.one_of(edited(), mutated(st.sampled_from(SAMPLES)), small(), st.binary(max_size=60))
