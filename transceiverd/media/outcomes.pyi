"""Types of transceiverd/media/outcomes.pyx."""

COUNTER_NAMES: tuple[str, ...]
"""Every counter of a media thread's segment, in order."""

OUTCOME_NAMES: tuple[str, ...]
"""The outcomes of a record; see outcomes.pyx for what their sum equals."""
