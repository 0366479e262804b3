"""A transceiver that stands still makes nobody wait: callers who come meanwhile are given to another at once, and after
a second it is not even asked.
"""

import os
import signal
import time

import pytest

from tests.daemons import running, wait_for
from tests.faults.callers import Callers

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]

STUCK_SECONDS = 2.5  # less than [transceiver] stuck_after_ms: then it is killed, and it is another story
SLOWEST_SECONDS = 1.5  # 0.3 s of them for the one that does not answer; the rest is a busy machine's
CALLS = 4


def test_stuck_transceiver_gets_no_calls_and_makes_no_caller_wait() -> None:
    with running(workers=1, transceivers=2) as server, Callers(server.url) as callers:
        stopped = server.pids("transceiverd")["transceiver0"]
        start = time.monotonic()
        os.kill(stopped, signal.SIGSTOP)
        took = []
        while time.monotonic() - start < STUCK_SECONDS:
            before = time.monotonic()
            callers.dial(1)
            took.append(time.monotonic() - before)
        assert max(took) < SLOWEST_SECONDS, took
        wait_for(lambda: server.pids("transceiverd").get("transceiver0") not in (None, stopped), "it is replaced", 10)
        server.await_ready()
        callers.dial(CALLS)
        assert {one["transceiver"] for one in server.sessions()} == {0, 1}
