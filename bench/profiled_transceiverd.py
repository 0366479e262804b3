"""transceiverd whose children sample their own stacks: `python -m bench.profiled_transceiverd --config FILE`.

Every millisecond of CPU time of a child, its main thread's stack is noted (ITIMER_PROF). SIGUSR1 begins anew, SIGUSR2
writes what was seen to `profile-<pid>.txt` in the directory of RINGLINE_PROFILE: lines by own time, and functions by
time within them. Time inside a C call is booked on the line that called.
"""

import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from transceiverd import main

INTERVAL_SECONDS = 0.001
ROWS = 70

own: Counter[str] = Counter()
within: Counter[str] = Counter()
lines_within: Counter[str] = Counter()


def short(path: str) -> str:
    """From the package on."""
    for mark in ("site-packages/", "python3.11/", "/main/"):
        if mark in path:
            return path.rpartition(mark)[2]
    return path


def sample(_number: int, frame: FrameType | None) -> None:
    """One look at the stack."""
    seen: set[str] = set()
    leaf = True
    while frame is not None:
        code = frame.f_code
        place = f"{short(code.co_filename)}:{frame.f_lineno} {code.co_name}"
        if leaf:
            own[place] += 1
            leaf = False
        function = f"{short(code.co_filename)}:{code.co_firstlineno} {code.co_name}"
        if function not in seen:
            seen.add(function)
            within[function] += 1
            lines_within[place] += 1
        frame = frame.f_back


def begin(_number: int, _frame: FrameType | None) -> None:
    """From now on."""
    own.clear()
    within.clear()
    lines_within.clear()
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)


def write(_number: int, _frame: FrameType | None) -> None:
    """What was seen so far."""
    signal.setitimer(signal.ITIMER_PROF, 0)
    total = sum(own.values())
    with (Path(os.environ["RINGLINE_PROFILE"]) / f"profile-{os.getpid()}.txt").open("w") as out:
        for title, counts in (("own", own), ("functions", within), ("lines", lines_within)):
            print(f"--- {title}, {total} samples", file=out)
            for place, count in counts.most_common(ROWS):
                print(f"{count / max(total, 1) * 100:6.1f} % {place}", file=out)


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, sample)
    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, write)
    sys.exit(main.main())
