"""A daemon that speaks a second layout beside ours: `python -m tests.upgrade.two_layouts DAEMON --config FILE`.

The other major is only another number: its bytes are ours. What is seen is who makes and takes segments of which major.
"""

import importlib
import sys

from shm import segment

OTHER = 2

if __name__ == "__main__":
    segment.SUPPORTED_MAJORS = (1, OTHER)  # before anybody asks
    daemon = importlib.import_module(f"{sys.argv.pop(1)}.main")
    sys.exit(daemon.main())
