"""SCTP throughput per second of CPU, and memory of an idle association: ours against aiortc's, in one run.

    python bench/sctp.py [--megabytes 8] [--rounds 3] [--pion]

Both ends of a transfer run in this process over a pipe in memory, so a figure is the cost of sending *and* receiving.
With a link of 50 ms and 1 % loss time is simulated for ours (CPU is what is measured); aiortc reads the real clock and
is measured on the pipe only. Rounds are interleaved; the medians and their spread are printed. `--pion` adds Pion's
SCTP, built from the Go module proxy, on the same kind of pipe.
"""

import argparse
import asyncio
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from aiortc import RTCDataChannel, RTCSctpTransport
from aiortc.rtcdatachannel import RTCDataChannelParameters

from tests.link import Endpoint, Link
from tests.sctp.aiortc_peer import Pipe
from tests.sctp.peers import association
from transceiverd.engine import Drops
from transceiverd.sctp.association import Association
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.events import MessageReceived

MEGABYTE = 1_000_000
ROLES = ("client", "server")
CONFIG, DROPS = DataChannelConfig(), Drops()  # shared by all associations, as in a transceiver


def joined() -> tuple[Association, Association]:
    """Two of ours after the handshake."""
    left, right = (association(role, config=CONFIG, drops=DROPS, random_bytes=os.urandom) for role in ROLES)
    left.start(time.monotonic_ns())
    right.start(time.monotonic_ns())
    for _ in range(6):
        exchange(left, right)
    return left, right


def exchange(left: Association, right: Association) -> int:
    """Carry what both have to send; bytes of messages that arrived at the right."""
    now = time.monotonic_ns()
    count = 0
    for source, destination in ((left, right), (right, left)):
        while (data := source.poll_datagram()) is not None:
            destination.receive_datagram(data, now)
        while (event := destination.poll_event()) is not None:
            if isinstance(event, MessageReceived):
                count += len(event.data)
    return count


def ours(size: int, total: int) -> float:
    """CPU seconds to carry `total` bytes in messages of `size`."""
    left, right = joined()
    stream_id = left.open_channel("bulk")
    message = bytes(size)
    begun, heard = time.process_time(), 0
    while heard < total:
        now = time.monotonic_ns()
        for _ in range(max(1, 65_536 // size)):
            if not left.send(stream_id, message, False, now):
                break
        heard += exchange(left, right)
        for end in (left, right):
            timeout = end.next_timeout()
            if timeout is not None and timeout.deadline <= now:
                end.handle_timeout(now)
    return time.process_time() - begun


def ours_on_a_link(size: int, total: int, delay_ms: float, loss: float) -> tuple[float, float]:
    """CPU seconds, and simulated seconds, to carry `total` bytes over a bad link."""
    left, right = association("client", 1), association("server", 2)
    wire = Link(Endpoint(left), Endpoint(right), seed=1, loss=loss, delay_ms=(delay_ms, delay_ms))
    left.start(wire.now)
    right.start(wire.now)
    wire.run(seconds=1)
    stream_id = left.open_channel("bulk")
    begun, started, heard = time.process_time(), wire.now, 0
    while heard < total:
        while left.send(stream_id, bytes(size), False, wire.now):
            pass
        wire.run(seconds=0.01)
        wire.left.sent.clear()
        wire.right.sent.clear()
        wire.left.received.clear()
        wire.right.received.clear()
        heard += sum(len(event.data) for event in wire.right.events if isinstance(event, MessageReceived))
        wire.right.events.clear()
    return time.process_time() - begun, (wire.now - started) / 1e9


class AiortcPair:
    """Two of aiortc's transports on a pipe."""

    def __init__(self) -> None:
        self.pipes = [Pipe("client"), Pipe("server")]
        self.ends = [RTCSctpTransport(pipe) for pipe in self.pipes]  # type: ignore[arg-type]
        self.queues: list[asyncio.Queue[bytes]] = [asyncio.Queue(), asyncio.Queue()]
        for place in (0, 1):
            self.pipes[place].receive = self.queues[1 - place].put_nowait
        self.tasks: list[asyncio.Task[None]] = []

    async def deliver(self, place: int) -> None:
        while True:
            await self.pipes[place].receiver._handle_data(await self.queues[place].get())

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for end in self.ends:
            await end.stop()


async def aiortc_pair() -> AiortcPair:
    """Started."""
    pair = AiortcPair()
    for end in pair.ends:
        await end.start(None, 5000)
        end._remote_max_message_size = 262_144
    pair.tasks = [asyncio.create_task(pair.deliver(place)) for place in (0, 1)]
    return pair


async def aiortc_channel(pair: AiortcPair) -> RTCDataChannel:
    """A channel that is open."""
    channel, opened = RTCDataChannel(pair.ends[0], RTCDataChannelParameters(label="bulk")), asyncio.Event()
    channel.on("open", opened.set)
    await opened.wait()
    return channel


async def aiortc_transfer(size: int, total: int) -> float:
    """CPU seconds that aiortc needs for the same."""
    pair, done, heard = await aiortc_pair(), asyncio.Event(), 0

    def on_message(message: bytes) -> None:
        nonlocal heard
        heard += len(message)
        if heard >= total:
            done.set()

    pair.ends[1].on("datachannel", lambda channel: channel.on("message", on_message))
    channel = await aiortc_channel(pair)
    begun, message = time.process_time(), bytes(size)
    while not done.is_set():
        while channel.bufferedAmount < 262_144 and not done.is_set():
            channel.send(message)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
    spent = time.process_time() - begun
    await pair.stop()
    return spent


def build_pion(folder: str) -> str:
    """The Go program of bench/sctp_pion."""
    target = f"{folder}/sctp_pion"
    subprocess.run(["go", "build", "-o", target, "."], cwd=Path(__file__).parent / "sctp_pion", check=True)
    return target


def pion(program: str, size: int, total: int) -> float:
    """CPU seconds that Pion needs for the same."""
    done = subprocess.run([program, "bench", str(size), str(total)], capture_output=True, check=True, timeout=120)
    return float(done.stdout)


def resident() -> int:
    """Bytes of memory that this process touches."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def our_memory(count: int = 2_000) -> dict[str, float]:
    """Bytes per idle association with one channel, after a message; and what `save` makes of it."""
    joined()
    before = resident()
    kept: list[Association] = []
    for _ in range(count):
        left, right = joined()
        stream_id = left.open_channel("oai-events")
        left.send(stream_id, bytes(100), True, time.monotonic_ns())
        for _ in range(3):
            exchange(left, right)
        kept += (left, right)
    return {"ours_idle_bytes": (resident() - before) // len(kept), "ours_saved_bytes": len(kept[0].save())}


async def aiortc_memory(count: int = 300) -> dict[str, float]:
    """The same of aiortc."""
    kept = [await aiortc_pair()]
    before = resident()
    for _ in range(count):
        kept.append(await aiortc_pair())
        await aiortc_channel(kept[-1])
    found = {"aiortc_idle_bytes": (resident() - before) // (2 * count)}
    for pair in kept:
        await pair.stop()
    return found


def in_a_process_of_its_own(what: str) -> dict[str, float]:
    """Memory is measured where nothing else was."""
    done = subprocess.run([sys.executable, __file__, "--memory", what], capture_output=True, check=True)
    return dict(json.loads(done.stdout))


def rate(seconds: float, total: int) -> float:
    """Megabytes per CPU second."""
    return total / MEGABYTE / seconds


def compare(size: int, total: int, rounds: int, program: str | None) -> dict[str, Any]:
    """One line: medians and spreads of megabytes per CPU second, both ends together."""
    part = min(total, size * 20_000)
    found: dict[str, list[float]] = {"ours": [], "aiortc": [], "pion": []}
    for _ in range(rounds):
        found["ours"].append(rate(ours(size, part), part))
        found["aiortc"].append(rate(asyncio.run(aiortc_transfer(size, part // 4)), part // 4))
        if program is not None:
            found["pion"].append(rate(pion(program, size, part), part))
    line: dict[str, Any] = {"message_bytes": size}
    for name, rates in found.items():
        if rates:
            line[f"{name}_mb_per_cpu_s"] = round(statistics.median(rates), 2)
            line[f"{name}_spread"] = [round(min(rates), 2), round(max(rates), 2)]
    line["ours_to_aiortc"] = round(statistics.median(found["ours"]) / statistics.median(found["aiortc"]), 2)
    return line


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=8, help="to carry in each transfer of ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pion", action="store_true", help="build and measure Pion too")
    parser.add_argument("--memory", choices=["ours", "aiortc"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(our_memory() if options.memory == "ours" else asyncio.run(aiortc_memory())))
        return
    total = int(options.megabytes * MEGABYTE)
    print(json.dumps(in_a_process_of_its_own("ours") | in_a_process_of_its_own("aiortc")))
    with tempfile.TemporaryDirectory() as folder:
        program = build_pion(folder) if options.pion else None
        for size in (100, 1_000, 16_384, 262_144):
            print(json.dumps(compare(size, total, options.rounds, program)), flush=True)
    spent, simulated = ours_on_a_link(16_384, total // 4, 25, 0.01)
    link = {"link": "50 ms, 1 % loss", "mb_per_s": total / 4e6 / simulated, "cpu_s_per_mb": spent / total * 4e6}
    print(json.dumps(link))


if __name__ == "__main__":
    main()
