"""Refuses a start that would open the server to more people than its configuration says (DESIGN 5).

Called once at start and by `--check-config`, after each field by itself was found right.
"""

import ipaddress

from shm.config import ConfigurationError

from transceiverd.signalling.config import OperatorSection, SignallingSection

LINES_TO_ADD = 'auth = "tokens"\ntokens = ["<at least 16 characters, as `openssl rand -hex 24` prints them>"]'


def check_exposure(config: SignallingSection, operator: OperatorSection | None = None) -> None:
    """Raise ConfigurationError for a listener that is open to others without the configuration saying so."""
    if config.auth == "tokens" and not config.tokens:
        raise ConfigurationError(f'[signalling] auth = "tokens" needs tokens. Add:\n\n{LINES_TO_ADD.splitlines()[1]}')
    if config.auth != "tokens" and config.tokens:
        raise ConfigurationError('[signalling] tokens are given but not asked for. Add:\n\nauth = "tokens"')
    if config.tls_port and not (config.tls_certificate and config.tls_key):
        raise ConfigurationError("[signalling] tls_port needs tls_certificate and tls_key")
    for address, port in ((config.listen, config.port), (config.tls_listen, config.tls_port)):
        if port and config.auth is None and not is_loopback(address):
            raise ConfigurationError(
                f"[signalling] {address} port {port} can be reached from other machines, and nothing says who may call."
                f" Add these two lines below [signalling]:\n\n{LINES_TO_ADD}\n\n"
                'or auth = "none", if everybody who reaches it may call.'
            )
    if operator is not None and operator.port and not operator.tokens and not is_loopback(operator.listen):
        raise ConfigurationError(
            f"[operator] {operator.listen} can be reached from other machines: metrics and sessions need"
            f" a token there. Add below [operator]:\n\n{LINES_TO_ADD.splitlines()[1]}"
        )


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a listener there. A name other than localhost may be anything."""
    try:
        return ipaddress.ip_address(address.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return address.lower() == "localhost"
