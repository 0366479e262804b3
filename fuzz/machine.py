"""How a state machine of ours is run: many examples of many steps, none made short.

A machine test is a plain function, not hypothesis's TestCase, so that what surrounds the machine is its own affair. The
mark tells conftest.py that another run gets somewhere new.
"""

from collections.abc import Callable

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

STEPS = 40
# Making a failure short takes minutes; what was done is printed step by step anyway.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def run_machine(machine: type[RuleBasedStateMachine], examples: int) -> None:
    """Raises what the machine found."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            phases=PHASES,
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def machine_test(test: Callable[[], None]) -> Callable[[], None]:
    """Marks a test that runs a machine."""
    test.runs_again = True  # type: ignore[attr-defined]
    return test
