"""What a load run is to do, with the bounds that keep it from doing harm.

Made by `command.py` from the command line and by tests directly; nothing changes it afterwards.
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

CALLS_MAX = 20_000
RATE_MAX = 5_000.0  # calls a second
SECONDS_MAX = 3_600.0
PAYLOAD_BYTES = (24, 1_200)  # from our own marks to what fits a tunnelled path


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run. ValueError names the option that is out of bounds."""

    url: str
    calls: int = 100
    rate: float = 50.0
    """Calls a second."""
    seconds: float = 30.0
    """How long all calls are held once the last one was placed."""
    patience_seconds: float = 10.0
    """How long a call may take until it is established."""
    payload_bytes: int = 80
    """Of an RTP packet: 32 kbit/s Opus in 20 ms frames."""
    silent: bool = False
    """No audio: calls are only held."""
    storm: bool = False
    """In the middle everybody is cut off and redials at once."""
    mix: float = 0.0
    """Share of the calls that aiortc places, 0 to 1."""
    consent_seconds: float = 2.5
    """Between two consent checks of a call; browsers' habit."""
    token: str = ""
    allow_remote: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"URL: found {self.url!r}, allowed are http:// and https:// URLs")
        try:
            _ = parts.port  # urlsplit looks at it only now
        except ValueError as error:
            raise ValueError(f"URL: found {self.url!r}: {error}") from None
        _check("--calls", self.calls, 1, CALLS_MAX)
        _check("--rate", self.rate, 0.1, RATE_MAX)
        _check("--seconds", self.seconds, 0, SECONDS_MAX)
        _check("--patience", self.patience_seconds, 1, 120)
        _check("--payload-bytes", self.payload_bytes, *PAYLOAD_BYTES)
        _check("--mix", self.mix, 0, 1)
        _check("--consent", self.consent_seconds, 0.5, 15)
        if not self.allow_remote and not self.is_loopback:
            raise ValueError(
                f"URL: {parts.hostname} is not loopback. A load run is an attack on whoever did not ask for it; "
                "--allow-remote says that you may"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether the server's name says that it is this machine."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def aiortc_calls(self) -> int:
        """How many of the calls aiortc places."""
        return round(self.calls * self.mix)


def _check(option: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{option}: found {value:g}, allowed are {low:g} to {high:g}")
