"""Offers that name whom they like: candidates, and every other line of an SDP that can hold a name or an address."""

from hypothesis import strategies as st

from tests.sdp.offers import audio_offer

PLACES = st.one_of(
    st.sampled_from([
        "127.0.0.1", "0.0.0.0", "255.255.255.255", "169.254.169.254", "10.0.0.1", "192.168.1.1", "224.0.0.251",
        "8.8.8.8", "::1", "::", "fe80::1", "fe80::1%eth0", "ff02::fb", "::ffff:127.0.0.1", "2001:db8::1", "localhost",
        "0b1c2d3e-1234-4321-8765-0123456789ab.local", "tracker.example", "a.b.c.d.e.tracker.example.", "*.example",
        "0x7f000001", "2130706433", "127.1", "xn--bcher-kva.example", "_http._tcp.local", "http://tracker.example/",
    ]),
    st.ip_addresses().map(str),
    st.from_regex(r"[a-z0-9-]{1,30}\.(local|example|invalid)", fullmatch=True),
)  # fmt: skip
PORTS = st.one_of(st.sampled_from([0, 1, 9, 22, 53, 80, 443, 3478, 5353, 65535]), st.integers(0, 65535))
KINDS = st.sampled_from(["host", "srflx", "prflx", "relay"])
TRANSPORTS = st.sampled_from(["udp", "UDP", "tcp", "TCP", "tls"])


@st.composite
def candidate(draw: st.DrawFn) -> str:
    """One `a=candidate` line."""
    line = (
        f"a=candidate:{draw(st.integers(0, 10**9))} {draw(st.integers(1, 2))} {draw(TRANSPORTS)} "
        f"{draw(st.integers(0, 2**31 - 1))} {draw(PLACES)} {draw(PORTS)} typ {draw(KINDS)}"
    )
    if draw(st.booleans()):
        line += f" raddr {draw(PLACES)} rport {draw(PORTS)}"
    if draw(st.booleans()):
        line += f" tcptype {draw(st.sampled_from(['active', 'passive', 'so']))}"
    return line


OTHERS = st.one_of(
    PLACES.map(lambda place: f"a=rtcp:9 IN IP4 {place}"),
    st.tuples(PLACES, PORTS).map(lambda place: f"a=remote-candidates:1 {place[0]} {place[1]}"),
    PLACES.map(lambda place: f"a=extmap:3 http://{place}/extension"),
    PLACES.map(lambda place: f"a=ssrc:1 cname:{place}"),
    PLACES.map(lambda place: f"a=source-filter: incl IN IP4 * {place}"),
    st.just("a=end-of-candidates"),
)


def offers() -> st.SearchStrategy[bytes]:
    """Acceptable offers."""
    lines = st.lists(st.one_of(candidate(), OTHERS), max_size=20)
    return st.tuples(lines, st.one_of(st.none(), PLACES)).map(_offer)


def _offer(drawn: tuple[list[str], str | None]) -> bytes:
    lines, place = drawn
    text = audio_offer(*lines)
    if place is not None:
        text = text.replace("IN IP4 0.0.0.0", f"IN IP4 {place}").replace("s=-", f"s={place}")
    return text.encode()
