"""What the flow table looks like from Python: outcomes, owners, entries (DESIGN 2.4, 3). Made by flows.pyx.

Read by status, by counters that name outcomes, and by tests. The numbers are those of enum flow_outcome in flows.pxd.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class FlowOutcome(enum.IntEnum):
    """What a publish did; flows.pxd explains each."""

    APPLIED = 0
    REFRESHED = 1
    REPLACED_DEAD = 2
    CONTENDING = 3
    CONTENDER_WON = 4
    CONTENDER_DROPPED = 5
    REFUSED_CONTENDED = 6
    REFUSED_FULL = 7
    STALE = 8
    REFUSED_MALFORMED = 9


class FlowOwner(NamedTuple):
    """Owner or contender of a flow."""

    origin: int
    incarnation: int
    slot: int
    generation: int
    transceiver: int
    state: int
    since_ns: int


class Flow(NamedTuple):
    """One entry, read whole."""

    flow_index: int
    """Its place in the table, as records name it."""
    flow_generation: int
    key: bytes
    owner: FlowOwner
    contender: FlowOwner | None
