"""Types of relayd/outcomes.pyx."""

COUNTER_NAMES: tuple[str, ...]
"""Every counter of a worker's segment, in order."""

OUTCOME_NAMES: tuple[str, ...]
"""The outcomes of a received datagram; their sum is `received`."""

OUT_OUTCOME_NAMES: tuple[str, ...]
"""The outcomes of a record taken from a lane's out rings; their sum is `out_records`."""
