"""What the configuration names on the disk: tokens and certificates. Read with it, so that a bad one refuses it whole.

Called by `settings.py` at the start, by `--check-config` and at every reload: a file that changed under the same name
is a change.
"""

from typing import TypeVar

import msgspec

from shm.daemon.config import ConfigurationError, line_in
from shm.daemon.credentials import credential_path, read_lines
from transceiverd.signalling.config import OperatorSection, SignallingSection, Token
from transceiverd.signalling.tls import server_context

S = TypeVar("S", SignallingSection, OperatorSection)


def with_tokens(section: S, name: str, file: str) -> S:
    """The section with the tokens of its file beside its own. Raises ConfigurationError."""
    if section.tokens_file is None:
        return section
    key = f"{name}.tokens_file"
    path = credential_path(section.tokens_file)
    lines: list[tuple[int, str]] = []
    try:
        lines = read_lines(path)
    except OSError as error:
        raise _refusal(f"{path} cannot be read: {error.strerror}", file, key) from None
    except ValueError as error:
        raise _refusal(f"{path} is no list of tokens: {error}", file, key) from None
    for number, line in lines:
        try:
            msgspec.convert(line, Token)
        except msgspec.ValidationError:
            problem = f"{path}:{number} is no token: found one that is not shown here"
            raise _refusal(problem, file, key, "16 to 512 characters of A-Z, a-z, 0-9 and ._~+/-") from None
    if not lines:
        raise _refusal(f"{path} has no token in it", file, key, "one a line")
    return msgspec.structs.replace(section, tokens=[*section.tokens, *(line for _, line in lines)])


def with_certificate(section: SignallingSection, file: str) -> SignallingSection:
    """The section with whole paths, its certificate and key tried. Raises ConfigurationError."""
    if not section.tls_port or section.tls_certificate is None or section.tls_key is None:
        return section
    certificate, key = credential_path(section.tls_certificate), credential_path(section.tls_key)
    for path, option in ((certificate, "tls_certificate"), (key, "tls_key")):
        try:
            path.read_bytes()
        except OSError as error:
            problem = f"{path} cannot be read: {error.strerror}"
            raise _refusal(problem, file, f"signalling.{option}") from None
    try:
        server_context(str(certificate), str(key))
    except OSError as error:  # ssl.SSLError is one
        problem = f"{certificate} with the key {key} cannot be used: {error}"
        raise _refusal(problem, file, "signalling.tls_certificate", "PEM, and the key that belongs to it") from None
    return msgspec.structs.replace(section, tls_certificate=str(certificate), tls_key=str(key))


def _refusal(problem: str, file: str, key: str, allowed: str = "") -> ConfigurationError:
    return ConfigurationError(problem, file=file, line=line_in(file, key), key=key, allowed=allowed)
