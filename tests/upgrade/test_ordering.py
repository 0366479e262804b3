"""`relayctl upgrade` towards a daemon that does not come through it: it says so at once, and waits for nobody."""

import subprocess
import sys
from pathlib import Path

from tests.daemons import wait_for

# Takes the order as a daemon does, and ends where the new code would begin.
DAEMON = """
import sys
from pathlib import Path
from shm.daemon.loop import EventLoop
from shm.daemon.orders import OrderDesk, Report

def upgrade(_arguments, reply):
    reply(Report(True, "hands over"))
    loop.stop()

loop = EventLoop()
releases = lambda _arguments, reply: reply(Report(True, "release 1", {"upgrades": 0}))
OrderDesk(loop, Path(sys.argv[1]), "relayd", {"upgrade": upgrade, "releases": releases})
loop.run()
"""


def test_upgrade_that_ends_the_daemon_is_reported_at_once(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", DAEMON, str(tmp_path)]) as daemon:
        wait_for((tmp_path / "relayd.orders").exists, "it takes orders")
        done = subprocess.run(
            [sys.executable, "-m", "relayd.relayctl", "--runtime-directory", str(tmp_path), "upgrade", "relayd"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (3, "relayd: hands over\n")
        assert done.stderr.strip().endswith("relayd has ended in its upgrade: see its log")
        daemon.wait(10)
