"""The states of an association and which may follow which (RFC 9260 4).

`Association.move` is the one place that changes a state; it asserts this table.
"""

from enum import IntEnum


class State(IntEnum):
    """RFC 9260 4's states; DONE is ours: closed for good, nothing comes after it."""

    CLOSED = 0
    COOKIE_WAIT = 1
    COOKIE_ECHOED = 2
    ESTABLISHED = 3
    SHUTDOWN_PENDING = 4
    SHUTDOWN_SENT = 5
    SHUTDOWN_RECEIVED = 6
    SHUTDOWN_ACK_SENT = 7
    DONE = 8


_SHUTTING_DOWN = (State.SHUTDOWN_SENT, State.SHUTDOWN_RECEIVED, State.SHUTDOWN_ACK_SENT, State.DONE)

TRANSITIONS: dict[State, frozenset[State]] = {
    State.CLOSED: frozenset({State.COOKIE_WAIT, State.ESTABLISHED, State.DONE}),
    State.COOKIE_WAIT: frozenset({State.COOKIE_ECHOED, State.ESTABLISHED, State.DONE}),
    State.COOKIE_ECHOED: frozenset({State.ESTABLISHED, State.DONE}),
    State.ESTABLISHED: frozenset({State.ESTABLISHED, State.SHUTDOWN_PENDING, *_SHUTTING_DOWN}),
    State.SHUTDOWN_PENDING: frozenset({State.ESTABLISHED, *_SHUTTING_DOWN}),
    State.SHUTDOWN_SENT: frozenset({State.SHUTDOWN_ACK_SENT, State.DONE}),
    State.SHUTDOWN_RECEIVED: frozenset({State.SHUTDOWN_ACK_SENT, State.DONE}),
    State.SHUTDOWN_ACK_SENT: frozenset({State.DONE}),
    State.DONE: frozenset(),
}

CARRIES_DATA_OUT = frozenset({State.ESTABLISHED, State.SHUTDOWN_PENDING, State.SHUTDOWN_RECEIVED})
"""RFC 9260 6: in which states DATA may leave (COOKIE_ECHOED: only behind the COOKIE ECHO)."""

CARRIES_DATA_IN = frozenset({State.ESTABLISHED, State.SHUTDOWN_PENDING, State.SHUTDOWN_SENT})
"""In which states DATA is taken; elsewhere it is discarded in silence."""
