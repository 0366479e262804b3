"""Mirrors a call's addresses into its record in shared memory, where the media thread reads them.

The agent's address book is the working copy; the record is what another process could go on from (DESIGN 2.13). Only
what changed is written: each change of what media acts on is one turn of the record's seqlock.
"""

from shm.session_addresses import SessionAddresses
from transceiverd.ice.addresses import ADDRESSES_MAX, Address


class RecordSink:
    """The `AddressSink` of a session record."""

    __slots__ = ("_addresses", "_ids", "_nominated", "_proven")

    def __init__(self, addresses: SessionAddresses) -> None:
        self._addresses = addresses
        self._ids = [0] * ADDRESSES_MAX
        self._proven = [False] * ADDRESSES_MAX
        self._nominated = -1
        for address in addresses.read() or ():  # of a call that is taken up from its record
            self._ids[address.place] = address.id
            self._proven[address.place] = address.dtls_proven
            self._nominated = address.place if address.nominated else self._nominated

    def update(self, index: int, address: Address | None) -> None:
        """Place `index` now holds `address`, or nothing."""
        if address is None:
            self._forget(index)
            self._addresses.clear(index)
            return
        if self._ids[index] != address.id:
            self._forget(index)
            self._addresses.set(index, address.key, address.id, address.checked_ns)
            self._ids[index] = address.id
        if address.dtls_proven and not self._proven[index]:
            self._addresses.prove(index)
            self._proven[index] = True
        if address.nominated is not (self._nominated == index):
            self._mirror_nomination(index, address.nominated)
        self._addresses.checked(index, address.checked_ns)
        self._addresses.account(index, address.bytes_received, address.bytes_sent)

    def _mirror_nomination(self, index: int, nominated: bool) -> None:
        self._addresses.nominated = index if nominated else None
        self._nominated = index if nominated else -1

    def _forget(self, index: int) -> None:
        self._ids[index] = 0
        self._proven[index] = False
        if self._nominated == index:
            self._nominated = -1
