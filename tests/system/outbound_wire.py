"""Offers that name everybody, and every packet that then leaves: `unshare -n python -m tests.system.outbound_wire`.

In a network namespace of its own, with a default route, so that what would go to a stranger or a name server appears on
the tapped interface. Prints what was seen as JSON for test_outbound_wire.py, which starts this.
"""

import json
import select
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections import Counter

from hypothesis import HealthCheck, given, settings

from fuzz.strategies.candidates import offers
from tests.daemons import running

OFFERS = 150
QUIET_SECONDS = 2.0  # longer than any look-up takes to begin
WIRE, FAR_END = "wire0", "wire1"
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
PACKET_OUTGOING = 4  # packet(7); on lo each packet is seen twice


def ip(*words: str) -> None:
    """ip(8)."""
    subprocess.run(["ip", *words], check=True)


def prepare() -> None:
    """A loopback, and a way to everybody that leads nowhere."""
    ip("link", "set", "lo", "up")
    ip("link", "add", WIRE, "type", "veth", "peer", "name", FAR_END)
    ip("address", "add", "192.0.2.1/24", "dev", WIRE)
    for interface in (WIRE, FAR_END):
        ip("link", "set", interface, "up")
    ip("route", "add", "default", "via", "192.0.2.254")
    ip("neigh", "add", "192.0.2.254", "lladdr", "02:00:00:00:00:01", "dev", WIRE)


def tap(interface: str) -> socket.socket:
    """Every packet of the interface."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    end.bind((interface, ETH_P_ALL))
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    end.setblocking(False)
    return end


def seen(end: socket.socket, ports: set[int]) -> Counter[str]:
    """What the tap holds, by a name for it; `http` is what has one of these TCP ports."""
    found: Counter[str] = Counter()
    while select.select([end], [], [], 0)[0]:
        data, (_, protocol, kind, _, _) = end.recvfrom(65536)
        if kind == PACKET_OUTGOING:
            found[_name(data, protocol, ports)] += 1
    return found


def _name(data: bytes, protocol: int, ports: set[int]) -> str:
    if protocol == ETH_P_IP:
        header = (data[0] & 15) * 4
        source, destination = struct.unpack_from(">HH", data, header)
        if data[9] == socket.IPPROTO_TCP and ports & {source, destination}:
            return "http"
        return f"IP protocol {data[9]} to {socket.inet_ntoa(data[16:20])}:{destination}"
    if protocol == ETH_P_IPV6:
        return "neighbour discovery" if data[6] in (0, socket.IPPROTO_ICMPV6) else f"IPv6 next header {data[6]}"
    return f"protocol {protocol:#06x}"


def main() -> None:
    """See above."""
    prepare()
    taps = {interface: tap(interface) for interface in ("lo", WIRE)}
    with running(slots=2 * OFFERS, transceiver=f"half_open_max = {2 * OFFERS}") as server:
        ports = {server.http_port, server.operator_port}
        answered = 0

        @settings(max_examples=OFFERS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(offers())
        def place(body: bytes) -> None:
            nonlocal answered
            request = urllib.request.Request(server.calls_url, body, {"Content-Type": "application/sdp"}, method="POST")
            with urllib.request.urlopen(request, timeout=10) as reply:
                answered += reply.status == 201

        place()
        time.sleep(QUIET_SECONDS)
        counted = {interface: dict(seen(end, ports)) for interface, end in taps.items()}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:  # the taps do see such things
        stranger.sendto(b"x", ("198.51.100.1", 5353))
        stranger.sendto(b"x", ("127.0.0.1", 53))
    shown = {interface: dict(seen(end, ports)) for interface, end in taps.items()}
    json.dump({"answered": answered, "seen": counted, "shown": shown}, sys.stdout)


if __name__ == "__main__":
    main()
