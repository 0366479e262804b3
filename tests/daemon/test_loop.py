"""The supervisor's loop: descriptors, timers, signals, and faults that stay where they happen."""

import logging
import os
import signal
import time
from collections.abc import Iterator

import pytest

from shm.daemon.loop import READ, EventLoop


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    made = EventLoop()
    yield made
    made.close()


class Pipe:
    """One that is readable, so that its action is due."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        os.write(self.write_end, b"x")

    def close(self) -> None:
        os.close(self.read_end)
        os.close(self.write_end)


def test_loop_timers_come_in_order_and_cancelled_ones_never(loop: EventLoop) -> None:
    came: list[str] = []
    now = time.monotonic_ns()
    loop.call_at(now - 1, lambda: came.append("second"))
    loop.call_at(now - 2, lambda: came.append("first"))
    loop.call_at(now - 2, lambda: came.append("also first, asked later"))
    loop.call_at(now - 3, lambda: came.append("cancelled")).cancel()
    loop.turn(0)
    assert came == ["first", "also first, asked later", "second"]


def test_loop_waits_for_the_next_timer_only(loop: EventLoop) -> None:
    loop.call_at(time.monotonic_ns() + 3_600_000_000_000, lambda: None).cancel()
    loop.call_after(1_000_000, loop.stop)
    loop.run()


def test_loop_fault_of_one_action_is_logged_and_the_others_go_on(
    loop: EventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    came: list[int] = []

    def fault() -> None:
        raise RuntimeError("broken action")

    loop.call_at(0, fault)
    loop.call_at(1, lambda: came.append(1))
    with caplog.at_level(logging.ERROR):
        loop.turn(0)
    assert came == [1]
    assert "broken action" in caplog.text


def test_loop_descriptor_closed_by_an_earlier_action_is_passed_over(loop: EventLoop) -> None:
    """Also when another descriptor has its number by then, which is how pidfds of successors come.

    The story: two workers die in one turn; the first one's successor gets the descriptor number that the second event
    of the turn still speaks of.
    """
    pipes = [Pipe(), Pipe()]
    wrong: list[str] = []
    done: list[int] = []

    def take_over(mine: int, other: int) -> None:
        os.read(pipes[mine].read_end, 1)
        done.append(mine)
        loop.unwatch(pipes[other].read_end)
        loop.watch(pipes[other].read_end, READ, lambda _events: wrong.append("delivered to the newcomer"))

    loop.watch(pipes[0].read_end, READ, lambda _events: take_over(0, 1))
    loop.watch(pipes[1].read_end, READ, lambda _events: take_over(1, 0))
    loop.turn(0)
    assert len(done) == 1
    assert wrong == []
    for pipe in pipes:
        loop.unwatch(pipe.read_end)
        pipe.close()


def test_loop_signal_is_an_event_of_the_loop(loop: EventLoop) -> None:
    came: list[str] = []
    loop.on_signal(signal.SIGUSR1, lambda: came.append("signal"))
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.turn(1_000_000_000)
    assert came == ["signal", "signal"]


def test_loop_unwatching_twice_is_harmless(loop: EventLoop) -> None:
    pipe = Pipe()
    loop.watch(pipe.read_end, READ, lambda _events: None)
    loop.unwatch(pipe.read_end)
    loop.unwatch(pipe.read_end)
    pipe.close()
