"""The peers that are Debian packages, each forwarding for all clients: coturn (ChannelData), rtpengine in user space.

A datagram comes from a client and leaves for a peer, which is the clients' own socket by another address: one in, one
out, like everybody else's. Missing programs are installed with apt when we are root, and named as missing otherwise.
"""

import os
import re
import shutil
import socket
import struct
import subprocess

from bench.forward.contenders import Aimed, Blaster, Contender, kill, pinned
from tests.daemons import free_port, wait_for

MAGIC = 0x2112A442  # RFC 8489 5
CHANNEL = 0x4000  # RFC 8656 12
LIFETIME = 3600  # seconds, of all that coturn holds
COTURN_FILL, RTPENGINE_FILL = 100, 2000  # datagrams that its sockets have room for
PORTS = (33_000, 60_000)  # for relaying
READY_SECONDS = 20.0


def installed(program: str, package: str) -> bool:
    """Whether it is there, if need be after an installation."""
    if shutil.which(program) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", package]
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(command, check=False, capture_output=True, env=quiet)
    return shutil.which(program) is not None


def start_coturn(blaster: Blaster, cpu: int) -> tuple[Contender, Aimed]:
    """coturn 4.6, one relay thread, no authentication; every client with an allocation and a bound channel."""
    port = free_port(socket.SOCK_DGRAM)
    command = ["turnserver", "-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={port}"]
    command += ["--no-auth", "--no-cli", "--cli-password=unused", "--allow-loopback-peers", "--no-tls", "--no-dtls"]
    command += ["--no-tcp", "--no-tcp-relay", "--no-rfc5780", "--relay-threads=1", "--log-file=stdout"]
    command += [f"--min-port={PORTS[0]}", f"--max-port={PORTS[1]}", f"--max-allocate-lifetime={LIFETIME}"]
    command += [f"--channel-lifetime={LIFETIME}", f"--permission-lifetime={LIFETIME}", "--pidfile=/dev/null"]
    process = _start(command, cpu)
    _await_answer(port, _stun(0x0001))
    aimed = blaster.aim(port, prefix=struct.pack("!HH", CHANNEL, blaster.size))
    allocate = _stun(0x0003, _attribute(0x0019, b"\x11\0\0\0"), _attribute(0x000D, struct.pack("!I", LIFETIME)))
    peer = struct.pack("!BBHI", 0, 1, aimed.port ^ (MAGIC >> 16), 0x7F000001 ^ MAGIC)
    bind = _stun(0x0009, _attribute(0x000C, struct.pack("!HH", CHANNEL, 0)), _attribute(0x0012, peer))
    for message in (allocate, bind):
        answered = aimed.ask(f"say {message.hex()}")[0]
        if answered < blaster.clients:
            raise SystemExit(f"coturn answered {answered} of {blaster.clients} requests")
    name = "coturn ChannelData"
    return Contender(name, port, process.pid, {}, lambda: kill(process), fill=COTURN_FILL), aimed


def start_rtpengine(blaster: Blaster, cpu: int) -> tuple[Contender, Aimed]:
    """rtpengine without its kernel module, one worker thread; every client a call of two legs."""
    port = free_port(socket.SOCK_DGRAM)
    command = ["rtpengine", "--foreground", "--log-stderr", "--log-level=3", "--table=-1", "--interface=127.0.0.1"]
    command += [f"--listen-ng=127.0.0.1:{port}", "--num-threads=1", f"--timeout={LIFETIME}"]
    command += [f"--port-min={PORTS[0]}", f"--port-max={PORTS[1]}", f"--silent-timeout={LIFETIME}"]
    process = _start(command, cpu)
    _await_answer(port, b"0 d7:command4:pinge")
    aimed = blaster.aim(port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        control.settimeout(READY_SECONDS)
        control.connect(("127.0.0.1", port))
        for client in range(blaster.clients):
            aimed.ask(f"port {client} {_place_call(control, blaster.address(client), aimed.port, client)}")
    name = "rtpengine, user space"
    return Contender(name, port, process.pid, {}, lambda: kill(process), fill=RTPENGINE_FILL), aimed


def _place_call(control: socket.socket, client: str, port: int, number: int) -> int:
    """Gives the port that the client sends to (the NG protocol: a cookie, then bencoded dictionaries)."""
    call = {"call-id": f"bench{number}", "from-tag": "a"}
    _ask(control, {**call, "command": "offer", "sdp": _sdp(client, port)})
    reply = _ask(control, {**call, "command": "answer", "to-tag": "b", "sdp": _sdp("127.0.0.1", port)})
    found = re.search(rb"m=audio (\d+) ", reply)
    if found is None:
        raise SystemExit(f"rtpengine: {reply[:200]!r}")
    return int(found[1])


def _sdp(address: str, port: int) -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\na=sendrecv\r\n"
    )


def _ask(control: socket.socket, words: dict[str, str]) -> bytes:
    items = "".join(f"{len(key)}:{key}{len(value)}:{value}" for key, value in sorted(words.items()))
    control.send(f"{words['call-id']}{words['command']} d{items}e".encode())
    return control.recv(65535)


def _stun(kind: int, *attributes: bytes) -> bytes:
    body = b"".join(attributes)
    return struct.pack("!HHI", kind, len(body), MAGIC) + b"ringlinebnch" + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value


def _start(command: list[str], cpu: int) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(pinned(command, cpu), stdout=quiet, stderr=quiet, stdin=quiet)


def _await_answer(port: int, question: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.2)

        def answered() -> bool:
            try:
                probe.sendto(question, ("127.0.0.1", port))
                return bool(probe.recv(2048))
            except OSError:
                return False

        wait_for(answered, f"an answer on port {port}", READY_SECONDS)
