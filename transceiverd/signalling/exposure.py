"""Refuses a start that would open the server to more people than its configuration says (DESIGN 5).

Called once at start and by `--check-config`, after each field by itself was found right.
"""

import ipaddress

from shm.daemon.config import ConfigurationError, line_in
from transceiverd.signalling.config import OperatorSection, SignallingSection

LINES_TO_ADD = 'auth = "tokens"\ntokens = ["<at least 16 characters, as `openssl rand -hex 24` prints them>"]'


def check_exposure(
    config: SignallingSection, operator: OperatorSection | None = None, *, file: str = "ringline.toml"
) -> None:
    """Raise ConfigurationError for a listener that others could reach without the configuration saying who may call."""
    for key, address, port in (
        ("listen", config.listen, config.port),
        ("tls_listen", config.tls_listen, config.tls_port),
    ):
        if port and config.auth is None and not is_loopback(address):
            problem = (
                "other machines can reach this address, and nothing says who may call. Add these two lines below"
                f" [signalling]:\n\n{LINES_TO_ADD}\n\n"
                'or auth = "none", if everybody who reaches it may call'
            )
            raise _refusal(problem, file, f"signalling.{key}", address)
    if operator is not None:
        _check_distinct(config, operator, file)
    if operator is not None and operator.port and not operator.tokens and not is_loopback(operator.listen):
        problem = (
            "other machines can reach this address, and metrics and sessions need a token there. Add below"
            f" [operator]:\n\n{LINES_TO_ADD.splitlines()[1]}\n"
        )
        raise _refusal(problem, file, "operator.listen", operator.listen)


def _check_distinct(config: SignallingSection, operator: OperatorSection, file: str) -> None:
    """Each listener needs a port of its own; of two at one address only the first would come up."""
    seen: dict[tuple[str, int], str] = {}
    for key, address, port in (
        ("signalling.port", config.listen, config.port),
        ("signalling.tls_port", config.tls_listen, config.tls_port),
        ("operator.port", operator.listen, operator.port),
    ):
        if port and (address, port) in seen:
            problem = f"{seen[address, port]} has the same address and port"
            raise ConfigurationError(problem, file=file, line=line_in(file, key), key=key, found=str(port),
                                     allowed="a port of its own")  # fmt: skip
        seen[address, port] = key


def _refusal(problem: str, file: str, key: str, address: str) -> ConfigurationError:
    return ConfigurationError(
        problem,
        file=file,
        line=line_in(file, key),
        key=key,
        found=repr(address),
        allowed="loopback as long as that is so",
    )


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a listener there. A name other than localhost may be anything."""
    try:
        return ipaddress.ip_address(address.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return address.lower() == "localhost"
