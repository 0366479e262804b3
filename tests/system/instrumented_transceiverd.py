"""transceiverd with handles for tests: `python -m tests.system.instrumented_transceiverd --config FILE`.

Forked children inherit the handlers. Sent to a transceiver process, on whose main thread the control loop runs:

    SIGUSR1     collects garbage again and again for a second, all generations
    SIGUSR2     blocks the control thread for a second, holding the interpreter's lock
    SIGRTMIN    throws every call's libsrtp contexts and whole session away, and makes them anew from its record alone

Each is acknowledged by a line on stderr, which the test looks for.
"""

import contextlib
import ctypes
import gc
import signal
import sys
import time
from typing import Any

from transceiverd import main, transceiver
from transceiverd.session import State

BLOCKED_SECONDS = 1.0
made: list[transceiver.Transceiver] = []
initialize = transceiver.Transceiver.__init__


def remember(self: transceiver.Transceiver, *arguments: Any) -> None:
    """The one transceiver of a process, for the handlers."""
    initialize(self, *arguments)
    made.append(self)


def say(text: str) -> None:
    """For the test."""
    print(f"instrumented: {text}", file=sys.stderr, flush=True)


def collect(_number: int, _frame: object) -> None:
    """Full collections back to back: what the worst possible collector would do."""
    end = time.monotonic() + BLOCKED_SECONDS
    rounds = 0
    longest = 0.0
    while time.monotonic() < end:
        start = time.monotonic()
        gc.collect()
        longest = max(longest, time.monotonic() - start)
        rounds += 1
    say(f"collected {rounds} times, {longest * 1000:.1f} ms at most, {len(gc.get_objects())} objects")


def block(_number: int, _frame: object) -> None:
    """poll(2) through PyDLL, which keeps the interpreter's lock, unlike CDLL and time.sleep."""
    start = time.monotonic()
    ctypes.PyDLL(None).poll(None, 0, int(BLOCKED_SECONDS * 1000))
    say(f"blocked {time.monotonic() - start:.2f} s")


def rebuild(_number: int, _frame: object) -> None:
    """From the loop, not from within whatever it was doing."""
    for one in made:
        one.loop.call_soon_threadsafe(_rebuild, one)


def _rebuild(one: transceiver.Transceiver) -> None:
    rebuilt = 0
    for call in one.calls:
        if call.session.state is State.CONNECTED:
            one.media.rebuild(call.owner.slot)
            one.calls.restore(call.owner.slot, time.monotonic_ns())
            rebuilt += 1
    one._ask_turn()
    say(f"rebuilt {rebuilt} calls")


if __name__ == "__main__":
    transceiver.Transceiver.__init__ = remember  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, collect)
    signal.signal(signal.SIGUSR2, block)
    signal.signal(signal.SIGRTMIN, rebuild)
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main.main())
