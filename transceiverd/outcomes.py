"""The names of the control thread's counters, in the order of its counters segment.

Every label under which an engine of the control side drops something is here; what is not, which a test excludes,
would show as `dropped-other`.
"""

from transceiverd.calls import STALE
from transceiverd.dtls.reasons import DROP_REASONS as DTLS_REASONS
from transceiverd.ice.agent import DROP_REASONS as ICE_REASONS
from transceiverd.session import DROP_REASONS as SESSION_REASONS


def dtls_label(reason: str) -> str:
    """The counter of a DTLS drop: the engine's reasons are words, and speak of DTLS only."""
    return "dtls-" + reason.replace(" ", "-")


CONTROL_COUNTERS: tuple[str, ...] = tuple(
    dict.fromkeys(
        (
            "calls",
            "calls-created",
            "calls-established",
            "records",
            "lost-wakeups",
            "control-ring-full",
            "dtls-over-budget",
            "dropped-other",
            STALE,
            *SESSION_REASONS,
            *ICE_REASONS,
            *(dtls_label(reason) for reason in DTLS_REASONS),
        )
    )
)
