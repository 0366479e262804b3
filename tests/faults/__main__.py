"""`python -m tests.faults [WORD...]`: the fault drill, all of it or rows that contain a word, as a Markdown table."""

import sys
from collections.abc import Iterator

from tests.faults.drill import NotPossible
from tests.faults.field import Outcome
from tests.faults.table import DRILLS, Grounds, grounds, markdown


def outcomes(taken: Grounds, words: list[str], complaints: list[str]) -> Iterator[tuple[str, Outcome]]:
    """Drill by drill; what went wrong is added to `complaints`."""
    for drill in DRILLS:
        if words and not any(word in drill.name for word in words):
            continue
        try:
            outcome = drill.act(taken.field(drill))
        except (AssertionError, NotPossible) as error:
            complaints.append(f"{drill.name}: {error}")
            taken.close()  # who knows what it left behind
            continue
        complaints.extend(f"{drill.name}: {complaint}" for complaint in drill.demand.complaints(outcome))
        yield drill.name, outcome


def main() -> int:
    """Exit status 1: some drill cost more than DESIGN 2 allows."""
    complaints: list[str] = []
    with grounds() as taken:
        for line in markdown(outcomes(taken, sys.argv[1:], complaints)):
            print(line, flush=True)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
