"""Whether every listener's address is one: for `--check-config`, which opens no socket.

Called by main.py, for that option only. A start resolves what it listens on as it opens it (`server.py`), and a reload
listens on nothing new: a name server that is away for a moment must neither look like a file that a person has to mend
(shm/daemon/exits.py) nor stop a running daemon's loop.
"""

import threading

from shm.daemon.config import ConfigurationError, line_in
from transceiverd.signalling.config import OperatorSection, SignallingSection
from transceiverd.signalling.server import resolved

RESOLVE_SECONDS = 5.0  # as long as the C library waits for one name server; a person waits for the answer


def check_addresses(
    config: SignallingSection,
    operator: OperatorSection,
    *,
    file: str,
    patience_seconds: float = RESOLVE_SECONDS,
) -> None:
    """Raise ConfigurationError for the first that a start could not listen on, whatever interfaces there are."""
    for key, address, port in (
        ("signalling.listen", config.listen, config.port),
        ("signalling.tls_listen", config.tls_listen, config.tls_port),
        ("operator.listen", operator.listen, operator.port),
    ):
        if port and (problem := _problem_of(address, port, patience_seconds)):
            raise ConfigurationError(
                f"cannot be resolved: {problem}",
                file=file,
                line=line_in(file, key),
                key=key,
                found=repr(address),
                allowed="an IPv4 or IPv6 address without brackets or port, or a host name that can be resolved here",
            )


def _problem_of(address: str, port: int, patience_seconds: float) -> str:
    """Empty when there is none. The C library cannot be interrupted, so a thread waits for it, which ends with us."""
    problems = [f"no name server answered within {patience_seconds:g} s"]

    def resolve() -> None:
        try:
            resolved(address, port)
        except OSError as error:
            problems.append(str(error.strerror))
        else:
            problems.append("")

    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(patience_seconds)
    return problems[-1]
