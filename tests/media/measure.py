"""Not a test: what an echoed packet costs in turn(), and what an installed call takes of memory.

    python -m tests.media.measure

CPU of this process only, no sockets, batches of 64 through one lane, 160-byte payloads; every packet is authenticated,
mapped, protected again and put into the ring. Ratios count, not the figures (FACTS 4).
"""

import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import psutil

from tests.media.world import CM_80, GCM_128, GCM_256, MILLISECOND, Client, World

CALLS = 64
PACKETS = 300
NAMES = {GCM_128: "AEAD_AES_128_GCM", GCM_256: "AEAD_AES_256_GCM", CM_80: "AES128_CM_HMAC_SHA1_80"}


def cost_of_echo(profile: int) -> list[float]:
    """Microseconds a packet, one figure a round."""
    world = World(slots=CALLS)
    clients = [Client(profile, seed) for seed in range(CALLS)]
    slots = [world.call(client) for client in clients]
    rounds = []
    for _ in range(PACKETS):
        for slot, client in zip(slots, clients, strict=True):
            world.give(slot, client.packet(bytes(160)))
        start = time.thread_time_ns()
        world.turn(20 * MILLISECOND)
        rounds.append((time.thread_time_ns() - start) / CALLS / 1000)
        assert len(world.taken()) >= CALLS
    assert world.count("echoed") == CALLS * PACKETS
    return rounds


def memory_of_call(profile: int, calls: int = 2000) -> float:
    """Bytes of private memory a call, one stream each way used; without the struct's 16 KiB slot."""
    world = World(slots=calls)
    process = psutil.Process(os.getpid())
    clients = [Client(profile, seed) for seed in range(calls)]
    packets = [client.packet() for client in clients]
    touch(world)
    gc.collect()
    before = process.memory_full_info().pss
    slots = [world.call(client) for client in clients]
    for slot, packet in zip(slots, packets, strict=True):
        world.give(slot, packet)
        world.turn()
        world.taken()
    gc.collect()
    return (process.memory_full_info().pss - before) / calls


def touch(world: World) -> None:
    """Map every page of the session segment now, so that it does not count."""
    assert sum(memoryview(world.sessions.segment)[::4096]) >= 0


def apart(function: Callable[[int], Any], profile: int) -> Any:
    """In a process of its own, so that one measurement's leavings do not help the next."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(function, (profile,))


if __name__ == "__main__":
    for profile, name in NAMES.items():
        rounds = apart(cost_of_echo, profile)
        deciles = statistics.quantiles(rounds, n=10)
        print(f"{name:24} {statistics.median(rounds):5.2f} us a packet (p10 {deciles[0]:.2f}, p90 {deciles[8]:.2f})")
    for profile, name in NAMES.items():
        print(f"{name:24} {apart(memory_of_call, profile) / 1000:5.1f} kB a call")
