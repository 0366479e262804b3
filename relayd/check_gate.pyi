"""The bounds on checks of one worker; see check_gate.pyx."""

class CheckGate:
    def __init__(self, *, per_second: int, per_second_slot: int, per_second_flow: int) -> None:
        """Checks a second: without a flow of all calls, of one call, and of one call by its own flows. MemoryError."""

    def passes(self, origin: int, flow: int, now: int) -> bool:
        """For tests: whether a check of this origin goes on at `now` (ns), and count it."""
