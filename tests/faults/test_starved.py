"""A process that gets no CPU is not stuck: on a full machine it would go on by itself, and a successor would wait too.

The story: 500 calls on two CPUs that a fuzzer and builds filled; a worker made no turn for a second, was taken for
stuck, and replaced.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.daemons import Server, running, wait_for

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(90),
    pytest.mark.skipif(os.geteuid() != 0, reason="who takes a whole CPU from others needs a negative nice value"),
]

STUCK_MS = 1000
STARVED_SECONDS = 5.0
HOGS = 2


@contextmanager
def starved(pids: list[int]) -> Iterator[None]:
    """These processes share one CPU with others that want all of it, and come after all of them (sched(7))."""
    usable = os.sched_getaffinity(0)
    cpu = min(usable)
    hog = f"import os\nos.sched_setaffinity(0, {{{cpu}}})\nos.nice(-20)\nwhile True: pass\n"
    tasks = [int(name) for pid in pids for name in os.listdir(f"/proc/{pid}/task")]
    for task in tasks:
        os.sched_setaffinity(task, {cpu})
        os.sched_setscheduler(task, os.SCHED_IDLE, os.sched_param(0))
    hogs = [subprocess.Popen([sys.executable, "-c", hog]) for _ in range(HOGS)]
    try:
        yield
    finally:
        for each in hogs:
            each.kill()
            each.wait()
        for task in tasks:  # one that was killed meanwhile could not even end
            os.sched_setscheduler(task, os.SCHED_OTHER, os.sched_param(0))
            os.sched_setaffinity(task, usable)


def _busy(server: Server) -> dict[str, int]:
    return {**server.pids("relayd"), **server.pids("transceiverd")}


def test_starved_processes_are_left_alone_and_stopped_ones_are_replaced() -> None:
    settings = {"relay": f"stuck_after_ms = {STUCK_MS}", "transceiver": f"stuck_after_ms = {STUCK_MS}"}
    with running(workers=1, transceivers=1, **settings) as server:
        before = _busy(server)
        with starved(list(before.values())):
            time.sleep(STARVED_SECONDS)
        server.await_ready()
        assert _busy(server) == before, server.logged()
        stopped = before["transceiver0"]
        os.kill(stopped, signal.SIGSTOP)
        wait_for(lambda: _busy(server).get("transceiver0") not in (None, stopped), "it is replaced", 2.5)
