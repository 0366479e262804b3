"""What the ICE agents report, in the past participle; drained with `poll_event()`.

Every event has a field, so that none is falsy. The session writes the flow publishes and withdrawals that follow.
"""

from typing import NamedTuple

from transceiverd.engine import Closed

__all__ = [
    "AddressChecked",
    "AddressDropped",
    "AddressNominated",
    "Closed",
    "ConsentExpired",
    "ConsentRegained",
    "NeverChecked",
    "PairNominated",
    "PairValidated",
    "RoleSwitched",
]


class AddressChecked(NamedTuple):
    """The first accepted check from this address (or the first since it was dropped): it may now be heard."""

    key: bytes


class AddressNominated(NamedTuple):
    """The peer nominated this address, and it is another one than before."""

    key: bytes


class AddressDropped(NamedTuple):
    """The call no longer knows this address; its flow is to be withdrawn. `reason`: "evicted" or "expired"."""

    key: bytes
    reason: str


class NeverChecked(NamedTuple):
    """No valid check came since the answer at `since` (ns); `Closed` follows."""

    since: int


class ConsentExpired(NamedTuple):
    """No valid check since `since` (ns): nothing may be sent any more, and all flows are to be withdrawn."""

    since: int


class ConsentRegained(NamedTuple):
    """A valid check from `key` came after consent had expired: the call goes on, its flows are published again."""

    key: bytes


class PairValidated(NamedTuple):
    """Controlling side: the first check over this pair succeeded; `mapped` is what the peer saw, (16 bytes, port)."""

    key: bytes
    mapped: tuple[bytes, int]


class PairNominated(NamedTuple):
    """Controlling side: the check with USE-CANDIDATE over this pair succeeded; send here."""

    key: bytes


class RoleSwitched(NamedTuple):
    """Controlling side: a role conflict was settled; `controlling` is our role now."""

    controlling: bool
