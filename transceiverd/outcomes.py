"""The names of the control thread's counters, in the order of its counters segment.

Every label under which an engine of the control side drops something is here; what is not, which a test excludes,
would show as `dropped-other`.
"""

from transceiverd.calls import FAULT, HALF_OPEN, STALE
from transceiverd.data_transport import DROP_REASONS as DATA_REASONS
from transceiverd.dtls.reasons import DROP_REASONS as DTLS_REASONS
from transceiverd.dtls.reasons import drop_label
from transceiverd.ice.agent import DROP_REASONS as ICE_REASONS
from transceiverd.sctp.reasons import DROP_REASONS as SCTP_REASONS
from transceiverd.session import DROP_REASONS as SESSION_REASONS

CONTROL_COUNTERS: tuple[str, ...] = tuple(
    dict.fromkeys(
        (
            "calls",
            "log-lines-suppressed",
            "calls-half-open",
            "calls-created",
            "calls-established",
            "records",
            "checks-answered-in-lane",
            "records-queued",
            "records-handled",
            "records-lost",
            "lost-wakeups",
            "control-ring-full",
            "dtls-over-budget",
            "dtls-put-off",
            "dropped-other",
            "farewell-skipped",
            HALF_OPEN,
            STALE,
            FAULT,
            *SESSION_REASONS,
            *ICE_REASONS,
            *(drop_label(reason) for reason in DTLS_REASONS),
            *SCTP_REASONS,
            *DATA_REASONS,
        )
    )
)
