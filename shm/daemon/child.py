"""The beginning and the end of a forked child: signals, descriptors, name, CPU, and with whom it dies.

`be_child` is entered by post.py in the forked process and never left; what the child is comes to it as a function. That
function calls `settle` first, when it knows which descriptors are its own.
"""

import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Collection
from typing import NoReturn

from shm.daemon.exits import EXIT_FAULT
from shm.daemon.process import close_descriptors_except, die_with_parent, name_process, pin_to_cpu, prefer_thread

# Blocked by the supervisor around the fork, so that none is delivered in the child before it has its own handling.
FORK_BLOCKED_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

Live = Callable[[socket.socket], None]


def be_child(name: str, live: Live, control: socket.socket) -> NoReturn:
    """Live until `live` returns, then end the process: nothing of the supervisor's stack may run in it again."""
    status = EXIT_FAULT
    try:
        _take_signals()
        live(control)
        status = 0
    except BaseException:  # whatever it is, it ends this process here, logged, and not further up
        logging.getLogger(name).critical("ends by a fault", exc_info=True)
    finally:
        os._exit(status)


def settle(log_name: str, process_name: str, keep: Collection[int], supervisor: int | None, cpu: int | None = None,
           nice: int = 0) -> None:  # fmt: skip
    """Turn a copy of the supervisor into a process of its own that has the descriptors `keep` and no others.

    PDEATHSIG comes last: see die_with_parent. `supervisor` is the parent's pid, from before the fork; None: this
    process may outlive it.
    """
    close_descriptors_except(keep)
    name_process(process_name)
    if cpu is not None:
        refused = pin_to_cpu(cpu)
        if refused is not None:
            logging.getLogger(log_name).warning("not pinned to CPU %d: %s", cpu, refused)
    if nice and (refused := prefer_thread(nice)) is not None:
        logging.getLogger(log_name).info("not at nice value %d: %s", nice, refused)
    gc.freeze()  # what came from the supervisor is never garbage here; looking at it would copy its pages
    if supervisor is not None:
        die_with_parent(supervisor)


def _take_signals() -> None:
    """What a terminal or `kill -- -PGID` sends to the supervisor's group is for the supervisor, which ends its children
    in order; so a child is a group of its own, and forgets what came before. SIGTERM to itself alone ends it at once,
    harmlessly."""
    signal.set_wakeup_fd(-1)
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which discards one that waits
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORK_BLOCKED_SIGNALS)
