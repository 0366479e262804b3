"""Who runs before whom when the machine is full: packets before set-ups."""

import os
from pathlib import Path

from tests.daemons import running


def test_priorities_are_given_to_workers_and_media_thread_only() -> None:
    """Positive ones here: those are allowed to everybody."""
    base = os.getpriority(os.PRIO_PROCESS, 0)
    with running(extra="[media]\nnice = 4\n", relay="nice = 3\n") as server:
        worker = server.pids("relayd")["relayd-worker0"]
        transceiver = server.pids("transceiverd")["transceiver0"]
        threads = [int(entry.name) for entry in Path(f"/proc/{transceiver}/task").iterdir()]
        assert os.getpriority(os.PRIO_PROCESS, worker) == 3
        assert os.getpriority(os.PRIO_PROCESS, transceiver) == base
        assert sorted(os.getpriority(os.PRIO_PROCESS, thread) for thread in threads) == sorted([base, 4])
        assert os.getpriority(os.PRIO_PROCESS, server.pids("transceiverd")["signalling"]) == base
