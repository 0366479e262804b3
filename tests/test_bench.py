"""What the comparisons of `bench/` stand on: intervals, pinned versions, the delaying link, the adapter's offers."""

import asyncio
import socket

from bench.bars import Bar, draw
from bench.delay import Link
from bench.echo.peers import HERE, module_version
from bench.ratio import against, interval
from transceiverd.load.offer import CANDIDATE

ANSWER = "\r\n".join(
    [
        "v=0",
        "a=group:BUNDLE 0",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "a=candidate:1 1 tcp 99 127.0.0.1 9 typ host tcptype passive",
        "a=candidate:2 1 udp 98 10.0.0.1 7 typ host",
        "a=candidate:3 1 UDP 97 127.0.0.1 {port} typ host",
        "a=mid:0",
        "",
    ]
)


def test_ratio_interval_is_geometric_and_of_students_t() -> None:
    assert interval([2.0, 2.0, 2.0]) == "2.00 (2.00-2.00)"
    assert interval([3.0]) == "3.00"
    # ln 1 and ln 4: mean ln 2, standard error ln 2; times 4.303 for the three rounds with another ln 2
    assert interval([1.0, 2.0, 4.0]) == "2.00 (0.36-11.19)"
    assert against([1.0, 8.0], [2.0, 16.0]) == "0.50 (0.50-0.50)"


def test_bars_draw_every_bar_with_its_value() -> None:
    text = draw("a < b", [Bar("ringline", 10.0, 9.0, 11.0), Bar("other", 20.0, 15.0, 25.0)])
    assert text.count("<path") == 2
    assert "a &lt; b" in text
    assert ">20.0<" in text


def test_peers_versions_are_those_that_are_pinned() -> None:
    assert module_version(HERE / "pion", "github.com/pion/webrtc/v4 ").startswith("4.")
    assert module_version(HERE / "str0m", "str0m = ").startswith("0.")


def test_delay_link_is_the_only_candidate_and_carries_both_ways() -> None:
    async def story(server: socket.socket, client: socket.socket) -> None:
        link = Link("", 0.01)
        answer = await link.redirected(ANSWER.format(port=server.getsockname()[1]))
        ((_, address, port),) = CANDIDATE.findall(answer)
        assert answer.index("m=audio") < answer.index("a=candidate")
        loop = asyncio.get_running_loop()
        await loop.sock_sendto(client, b"there", (address, int(port)))
        data, source = await asyncio.wait_for(loop.sock_recvfrom(server, 100), 5)
        assert data == b"there"
        await loop.sock_sendto(server, b"back", source)
        assert await asyncio.wait_for(loop.sock_recv(client, 100), 5) == b"back"
        for end in link.ends:
            end.transport.close()

    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        for one in (server, client):
            one.bind(("127.0.0.1", 0))
            one.setblocking(False)
        asyncio.run(story(server, client))
