"""Memory that the configuration asks for: said when it is much, and refused with key and size when it is not there.

The story: with the largest tables a daemon allocated for seconds without a word, and where they did not fit it said
"[Errno 12] Cannot allocate memory" and nothing about what to change.
"""

import errno
import logging
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from relayd.holding import flow_table_bytes
from shm.daemon import memory
from shm.daemon.memory import MIB, Wanted, available_bytes, taking
from shm.flows import FlowTable
from shm.session import SessionSegment
from tests.daemons import Server
from transceiverd.holding import session_segment_bytes


def wanted(mib: int) -> Wanted:
    return Wanted("[relay] flow_table_entries", 4711, "flow tables", 2, mib * MIB // 2)


@pytest.mark.parametrize("entries", [1, 8, 9, 1000, 65536])
def test_memory_of_a_flow_table_is_what_one_takes(entries: int) -> None:
    assert FlowTable.create(entries).segment.size == flow_table_bytes(entries)


@pytest.mark.parametrize("slots", [1, 100])
def test_memory_of_a_session_segment_is_what_one_takes(slots: int) -> None:
    assert SessionSegment.create(slots, 0).segment.size == session_segment_bytes(slots)


def test_memory_is_said_before_it_is_taken_if_it_is_much(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with taking(wanted(256)):
        assert caplog.messages == []
    with taking(wanted(257)):
        assert caplog.messages == ["flow tables take 257 MiB of memory: 2 for [relay] flow_table_entries = 4711"]


def test_memory_beyond_what_is_available_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 500 * MIB)
    with taking(wanted(500)):
        pass
    with pytest.raises(OSError, match="take 501 MiB of memory; this machine has 500 MiB available") as caught:
        taking(wanted(501)).__enter__()
    assert caught.value.errno == errno.ENOMEM
    with taking(wanted(1000), to_make=1):  # the other one is there since before a restart
        pass


def test_memory_that_the_kernel_does_not_give_is_named() -> None:
    named = r"^\[relay\] flow_table_entries: found 4711, for which 2 flow tables take 2 MiB"
    with pytest.raises(OSError, match=named), taking(wanted(2)):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="Too many open files"), taking(wanted(2)):
        raise OSError(errno.EMFILE, "Too many open files")


def test_memory_available_is_what_proc_says(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:  9 kB\nMemFree: 1 kB\nMemAvailable:    3 kB\nSwapFree:  2 kB\nHugePages_Total: 0\n")
    assert available_bytes(file) == 5 * 1024
    file.write_text("MemTotal:  9 kB\n")
    assert available_bytes(file) is None
    assert available_bytes(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("daemon", "section", "asked", "said"),
    [
        (
            "relayd",
            "[relay]",
            "workers = 256\nflow_table_entries = 16777216",
            "flow_table_entries: found 16777216, for which 256 flow tables take 524289 MiB of memory",
        ),
        (
            "transceiverd",
            "[transceiver]",
            "count = 3\nslots = 1000",
            "slots: found 1000, for which 3 session segments take 47 MiB of memory",
        ),
    ],
)
def test_memory_that_is_not_there_ends_the_start_with_key_and_size(
    daemon: str, section: str, asked: str, said: str
) -> None:
    server = Server()
    try:
        keys = {line.partition(" ")[0] for line in asked.splitlines()}
        lines = [line for line in server.config.read_text().splitlines() if line.partition(" ")[0] not in keys]
        server.config.write_text("\n".join(lines).replace(section, f"{section}\n{asked}"))
        done = subprocess.run(
            [sys.executable, "-m", f"{daemon}.main", "--config", str(server.config)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8 * MIB, 8 * MIB)),
        )
        assert done.returncode == 71, done.stderr
        assert f"cannot start: {section} {said}; " in done.stderr
        assert "[Errno" not in done.stderr
    finally:
        server.close()
