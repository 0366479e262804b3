"""Calls that talk while something is upgraded, and what must be true of them afterwards."""

import contextlib
import time
from collections.abc import Callable, Iterator

from tests.daemons import Server
from tests.udp_caller import UdpCaller

SETTLING_PACKETS = 50


@contextlib.contextmanager
def calls_on(server: Server, count: int) -> Iterator[list[UdpCaller]]:
    """So many calls that talk."""
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(UdpCaller(server.calls_url, seed=seed)) for seed in range(count)]
        for caller in callers:
            caller.connect()
        assert step_until(callers, lambda: all(len(caller.client.heard) > SETTLING_PACKETS for caller in callers))
        yield callers


def step_until(callers: list[UdpCaller], until: Callable[[], object], seconds: float = 20.0) -> bool:
    """Move all calls on, until it is true."""
    deadline = time.monotonic() + seconds
    while not until() and time.monotonic() < deadline:
        for caller in callers:
            caller.step(0.0005)
    return bool(until())


def assert_heard_on(callers: list[UdpCaller], packets: int = 25) -> None:
    """Everybody hears so many packets more."""
    heard = [len(caller.client.heard) for caller in callers]
    assert step_until(
        callers, lambda: all(len(c.client.heard) > n + packets for c, n in zip(callers, heard, strict=True))
    )


def assert_none_missing(callers: list[UdpCaller]) -> None:
    """Every packet between the first and the last echo came back.

    Not counted are those of the first second of a call, when some may come before its keys (DESIGN 2.5).
    """
    for place, caller in enumerate(callers):
        numbers = [int(packet[12:].split()[1]) for packet in caller.client.heard][SETTLING_PACKETS:]
        sent = {(numbers[0] + n) % 65536 for n in range((numbers[-1] - numbers[0]) % 65536 + 1)}
        missing = sorted(sent - set(numbers))
        assert not missing, f"call {place}: {len(missing)} of {len(sent)} are missing: {missing[:20]}"
        assert not caller.client.closed
