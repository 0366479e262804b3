"""Makes drills one after another, and the Markdown table of what they cost."""

import contextlib
from collections.abc import Iterable, Iterator

from tests.faults import processes, resources, surroundings
from tests.faults.drill import Drill, Ground
from tests.faults.field import Field, Outcome

DRILLS: list[Drill] = [*processes.DRILLS, *resources.DRILLS, *surroundings.DRILLS]


class Grounds:
    """The ground in use: kept while drills ask for the same."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._ground: Ground | None = None
        self._field: Field | None = None

    def field(self, drill: Drill) -> Field:
        """For this drill."""
        if self._field is None or self._ground != drill.ground or drill.fresh:
            self.close()
            self._field = self._stack.enter_context(drill.ground.taken())
        self._ground = None if drill.fresh else drill.ground
        return self._field

    def close(self) -> None:
        """End the daemons."""
        self._field = self._ground = None
        self._stack.close()


@contextlib.contextmanager
def grounds() -> Iterator[Grounds]:
    """All that is left running is ended."""
    with contextlib.closing(Grounds()) as taken:
        yield taken


def markdown(rows: Iterable[tuple[str, Outcome]]) -> Iterator[str]:
    """Line by line."""
    yield "| what happens | calls lost | packets lost | longest silence | a new call after |"
    yield "|---|---|---|---|---|"
    for name, outcome in rows:
        lost = f"{outcome.calls_lost} of {outcome.calls}"
        if outcome.calls_lost and outcome.calls_lost == outcome.calls_doomed:
            lost += ", its own"
        packets = f"{outcome.packets_lost} of {outcome.packets_sent}" if outcome.packets_sent else "-"
        if outcome.late:
            packets += f", {outcome.late} late"
        silence = f"{outcome.silence_ms:.0f} ms" if outcome.packets_sent else "-"
        yield f"| {name} | {lost} | {packets} | {silence} | {outcome.new_call_ms:.0f} ms |"
