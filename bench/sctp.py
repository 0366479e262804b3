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
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.link import Endpoint, Link
from tests.sctp.peers import association
from transceiverd.sctp.association import Association
from transceiverd.sctp.events import MessageReceived

MEGABYTE = 1_000_000


def joined() -> tuple[Association, Association]:
    """Two of ours after the handshake."""
    left, right = association("client", 1), association("server", 2)
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


async def aiortc_transfer(size: int, total: int) -> float:
    """CPU seconds that aiortc needs for the same."""
    from aiortc import RTCDataChannel, RTCSctpTransport  # noqa: PLC0415
    from aiortc.rtcdatachannel import RTCDataChannelParameters  # noqa: PLC0415

    from tests.sctp.aiortc_peer import Pipe  # noqa: PLC0415

    pipes = [Pipe("client"), Pipe("server")]
    ends = [RTCSctpTransport(pipe) for pipe in pipes]  # type: ignore[arg-type]
    queues: list[asyncio.Queue[bytes]] = [asyncio.Queue(), asyncio.Queue()]
    for place in (0, 1):
        pipes[place].receive = queues[1 - place].put_nowait

    async def deliver(place: int) -> None:
        while True:
            await pipes[place].receiver._handle_data(await queues[place].get())

    for end in ends:
        await end.start(None, 5000)
        end._remote_max_message_size = 262_144
    tasks = [asyncio.create_task(deliver(place)) for place in (0, 1)]
    heard, done = 0, asyncio.Event()

    def on_message(message: bytes) -> None:
        nonlocal heard
        heard += len(message)
        if heard >= total:
            done.set()

    ends[1].on("datachannel", lambda channel: channel.on("message", on_message))
    channel = RTCDataChannel(ends[0], RTCDataChannelParameters(label="bulk"))
    opened = asyncio.Event()
    channel.on("open", opened.set)
    await opened.wait()
    begun = time.process_time()
    message = bytes(size)
    while not done.is_set():
        while channel.bufferedAmount < 262_144 and not done.is_set():
            channel.send(message)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
    spent = time.process_time() - begun
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        await end.stop()
    return spent


def memory(count: int = 2_000) -> dict[str, float]:
    """Bytes of resident memory per idle association with one channel, after a message each way."""
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept: list[Any] = []
    for _ in range(count):
        left, right = joined()
        stream_id = left.open_channel("oai-events")
        left.send(stream_id, bytes(100), True, time.monotonic_ns())
        for _ in range(3):
            exchange(left, right)
        kept += (left, right)
    gc.collect()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"idle_bytes": (after - before) * 1024 / len(kept), "saved_bytes": len(kept[0].save())}


def rate(seconds: float, total: int) -> float:
    """Megabytes per CPU second."""
    return total / MEGABYTE / seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=8, help="to carry in each transfer of ours")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    total = int(options.megabytes * MEGABYTE)
    print(json.dumps(memory()))
    for size in (100, 1_000, 16_384, 262_144):
        part = min(total, size * 20_000)
        found: dict[str, list[float]] = {"ours": [], "aiortc": []}
        for _ in range(options.rounds):
            found["ours"].append(rate(ours(size, part), part))
            found["aiortc"].append(rate(asyncio.run(aiortc_transfer(size, part // 4)), part // 4))
        line: dict[str, Any] = {"message_bytes": size}
        for name, rates in found.items():
            line[f"{name}_mb_per_cpu_s"] = round(statistics.median(rates), 2)
            line[f"{name}_spread"] = [round(min(rates), 2), round(max(rates), 2)]
        line["ratio"] = round(statistics.median(found["ours"]) / statistics.median(found["aiortc"]), 2)
        print(json.dumps(line))
    spent, simulated = ours_on_a_link(16_384, total // 4, 25, 0.01)
    print(
        json.dumps(
            {"link": "50 ms, 1 % loss", "mb_per_s": total / 4e6 / simulated, "cpu_s_per_mb": spent / total * 4e6}
        )
    )


if __name__ == "__main__":
    main()
