"""Who may be listened to, the configuration sections, and the two lines that a refusal names."""

import pytest

from shm.daemon.config import ConfigurationError, parse
from transceiverd.signalling.config import SECTIONS, OperatorSection, SignallingSection
from transceiverd.signalling.exposure import check_exposure, is_loopback

TOKENS = ["a-token-of-the-tests"]
TLS = {"tls_port": 8443, "tls_certificate": "c.pem", "tls_key": "k.pem"}


@pytest.mark.parametrize(
    "config",
    [
        SignallingSection(),
        SignallingSection(listen="::1"),
        SignallingSection(listen="localhost"),
        SignallingSection(listen="127.9.9.9"),
        SignallingSection(listen="0.0.0.0", auth="none"),
        SignallingSection(listen="0.0.0.0", auth="tokens", tokens=TOKENS),
        SignallingSection(listen="0.0.0.0", port=0),
        SignallingSection(tls_listen="0.0.0.0"),
        SignallingSection(tls_listen="0.0.0.0", auth="tokens", tokens=TOKENS, **TLS),
    ],
)
def test_exposure_allowed(config: SignallingSection) -> None:
    check_exposure(config, OperatorSection())


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (SignallingSection(listen="0.0.0.0"), "signalling.listen"),
        (SignallingSection(listen="::"), "signalling.listen"),
        (SignallingSection(listen="192.168.0.2"), "signalling.listen"),
        (SignallingSection(listen="voice.example"), "signalling.listen"),
        (SignallingSection(tls_listen="::", **TLS), "signalling.tls_listen"),
    ],
)
def test_exposure_refused_with_the_two_lines_to_add(config: SignallingSection, key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_exposure(config, file="x.toml")
    text = str(caught.value)
    assert text.startswith(f"x.toml: {key}:")
    lines = [line for line in text.splitlines() if line.startswith(("auth = ", "tokens = "))]
    assert len(lines) == 2
    filled = "\n".join(lines).replace(lines[1].split('"')[1], "0123456789abcdef")
    sections = parse(f'[signalling]\nlisten = "0.0.0.0"\n{filled}\n', SECTIONS)
    check_exposure(sections["signalling"], sections["operator"])


def test_exposure_certificate_without_a_port_is_a_mistake() -> None:
    """Whoever followed a README that forgot `tls_port` had a server that came up, without HTTPS."""
    with pytest.raises(ConfigurationError, match="add a tls_port") as caught:
        parse('[signalling]\ntls_certificate = "c.pem"\ntls_key = "k.pem"\n', SECTIONS)
    assert caught.value.key == "signalling.tls_certificate"


@pytest.mark.parametrize("host", ["http://voice.example", "voice.example:8080", "voice.example/", ""])
def test_exposure_host_that_no_request_could_name_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"signalling\.hosts"):
        parse(f'[signalling]\nhosts = ["Voice.example", "[::1]", "fd00::2", "{host}"]\n', SECTIONS)
    parse('[signalling]\nhosts = ["Voice.example", "[::1]", "fd00::2", "192.0.2.1"]\n', SECTIONS)


def test_exposure_placeholder_is_no_token() -> None:
    """Who pastes the lines without filling them in must not get a server with a known token."""
    with pytest.raises(ConfigurationError) as caught:
        check_exposure(SignallingSection(listen="0.0.0.0"))
    lines = [line for line in str(caught.value).splitlines() if line.startswith(("auth = ", "tokens = "))]
    with pytest.raises(ConfigurationError):
        parse("[signalling]\n" + "\n".join(lines), SECTIONS)


def test_exposure_of_the_operator() -> None:
    with pytest.raises(ConfigurationError, match=r"operator\.listen"):
        check_exposure(SignallingSection(), OperatorSection(listen="0.0.0.0"))
    check_exposure(SignallingSection(), OperatorSection(listen="0.0.0.0", tokens=TOKENS))
    check_exposure(SignallingSection(), OperatorSection(listen="0.0.0.0", port=0))


@pytest.mark.parametrize(
    "text",
    [
        'auth = "tokens"',
        'tokens = ["0123456789abcdef"]',
        'auth = "none"\ntokens = ["0123456789abcdef"]',
        'auth = "tokens"\ntokens = ["short"]',
        'auth = "tokens"\ntokens = ["with a blank in it"]',
        'auth = "open"',
        "tls_port = 8443",
        'tls_port = 8443\ntls_certificate = "c.pem"',
        "port = 70000",
        "prot = 8080",
    ],
)
def test_exposure_configuration_errors(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(f"[signalling]\n{text}\n", SECTIONS)
    assert "0123456789abcdef" not in str(caught.value), "tokens are secrets"


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1", True), ("[::1]", True), ("::1%lo", True), ("LOCALHOST", True), ("10.0.0.1", False), ("", False)],
)
def test_exposure_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) == loopback
