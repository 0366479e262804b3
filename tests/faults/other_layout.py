"""relayd of another release, which speaks no layout of ours: `python -m tests.faults.other_layout --config FILE`."""

import sys
from collections.abc import Sequence

from relayd import main
from shm import attach

OTHER_MAJORS = (99,)
common = attach.common_layout


def common_layout(offered: Sequence[int], _supported: Sequence[int] = OTHER_MAJORS) -> int:
    """As always, from another release's set."""
    return common(offered, OTHER_MAJORS)


if __name__ == "__main__":
    attach.common_layout = common_layout
    sys.exit(main.main())
