"""The fault drill under live calls (DESIGN 2.6 to 2.9): nothing is lost that must survive, and what is lost is said.

`make fault-table` prints what each row cost.
"""

from collections.abc import Iterator

import pytest

from tests.faults.drill import Drill, NotPossible
from tests.faults.table import DRILLS, Grounds, grounds

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def taken() -> Iterator[Grounds]:
    with grounds() as found:
        yield found


@pytest.mark.parametrize("drill", DRILLS, ids=[drill.name for drill in DRILLS])
def test_drill_costs_no_more_than_it_may(drill: Drill, taken: Grounds) -> None:
    try:
        outcome = drill.act(taken.field(drill))
        assert drill.demand.complaints(outcome) == [], outcome
    except NotPossible as error:
        pytest.skip(str(error))
    except AssertionError:
        taken.close()  # the next drill shall not suffer from what this one left behind
        raise
