"""Makes the session of a call: from an accepted offer, or from the record that another process left (DESIGN 2.13).

Used by the call table (`calls.py`), which owns slots and flows. Knows every engine's constructor, so that the table
need not.
"""

import os
from dataclasses import dataclass

import msgspec

from shm.session import SessionRecord
from transceiverd.blob import BlobWriter, decode_blob
from transceiverd.data_transport import DataTransport, make_association
from transceiverd.dtls.config import DtlsConfig
from transceiverd.dtls.context import DtlsContext
from transceiverd.dtls.engine import DtlsEngine, Role
from transceiverd.dtls.records import RECORD_OVERHEAD_MAX
from transceiverd.echo_channels import EchoChannels
from transceiverd.engine import Drops
from transceiverd.ice.addresses import Address
from transceiverd.ice.agent import LiteAgent
from transceiverd.ice.config import IceConfig
from transceiverd.ice.error_budget import ErrorBudget
from transceiverd.record_sink import RecordSink
from transceiverd.sctp.buffers import SharedBuffers
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.initiation import make_init
from transceiverd.sdp.negotiation import Negotiation
from transceiverd.session import Session


@dataclass(frozen=True)
class CallDrops:
    """Counted drops, by engine; one set for all calls of a process."""

    common: Drops
    dtls: Drops
    sctp: Drops


class SessionMaker:
    """One for a process."""

    def __init__(
        self, context: DtlsContext, ice: IceConfig, dtls: DtlsConfig, data_channel: DataChannelConfig, drops: CallDrops
    ) -> None:
        self.buffers = SharedBuffers(data_channel.buffers_total_bytes)
        self._context = context
        self._drops = drops
        self.configure(ice, dtls, data_channel)

    def configure(self, ice: IceConfig, dtls: DtlsConfig, data_channel: DataChannelConfig) -> None:
        """For calls that are made from now on; the bound on shared buffers for all."""
        self.buffers.limit = data_channel.buffers_total_bytes
        self._errors = ErrorBudget(ice.errors_per_second)
        self._ice = ice
        self._dtls = dtls
        # SCTP packets must fit a DTLS record that fits a datagram.
        room = dtls.mtu - RECORD_OVERHEAD_MAX
        self._data_channel = msgspec.structs.replace(data_channel, mtu=min(data_channel.mtu, room))

    def sctp_init(self, negotiation: Negotiation) -> bytes | None:
        """Our INIT chunk for the answer, when the offer brought one (SNAP)."""
        if negotiation.data is None or negotiation.data.remote_init is None:
            return None
        return make_init(self._data_channel, os.urandom)

    def make(
        self,
        record: SessionRecord,
        negotiation: Negotiation,
        ufrag: str,
        password: str,
        sctp_init: bytes | None,
        caller: tuple[str, ...],
        now: int,
    ) -> Session:
        """A new call's. Raises MalformedPacket when the offer's INIT chunk is none."""
        agent = self._agent(record, negotiation, ufrag, password, now)
        role = Role.CLIENT if negotiation.dtls_role == "client" else Role.SERVER
        dtls = DtlsEngine(
            self._context, role, negotiation.remote_fingerprints, record.dtls, config=self._dtls, drops=self._drops.dtls
        )
        blob = BlobWriter.create(record, negotiation, ufrag, password, sctp_init, caller)
        data = self._data(negotiation, sctp_init, now)
        return Session(record, agent, dtls, self._dtls.handshake_timeout_ms, self._drops.common, now, blob, data)

    def restore(self, record: SessionRecord, now: int) -> tuple[Session, Negotiation, tuple[str, ...]]:
        """A connected call's, what was negotiated, and who asked for it, from its record alone.

        Raises ValueError when it was not connected, is over, or was not written by this release.
        """
        content = record.read_blob()
        if content is None or not record.connected_ns or record.closing_ns:
            raise ValueError("the call was not connected")
        try:
            blob = decode_blob(content)
            agreed = blob.decode_agreed()
            negotiation = agreed.decode_negotiation()
        except msgspec.MsgspecError as error:
            raise ValueError("not a blob of this release") from error
        dtls = DtlsEngine.rebuild(
            record.dtls, config=self._dtls, drops=self._drops.dtls, final_message=blob.final_message
        )
        agent = self._agent(record, negotiation, agreed.ufrag, agreed.password, record.created_ns)
        agent.restore(record.last_check_ns, record.checked_since_ns, established=True, addresses=_addresses(record))
        data = self._restore_data(negotiation, agreed.sctp_init, blob.channels, now)
        session = Session(
            record, agent, dtls, self._dtls.handshake_timeout_ms, self._drops.common, record.created_ns,
            BlobWriter(record, blob.agreed), data, restored=True,
        )  # fmt: skip
        return session, negotiation, agreed.caller

    def _agent(self, record: SessionRecord, negotiation: Negotiation, ufrag: str, password: str, now: int) -> LiteAgent:
        return LiteAgent(
            ufrag,
            password,
            negotiation.remote_ufrag,
            self._ice,
            now=now,
            sink=RecordSink(record.addresses),
            drops=self._drops.common,
            errors=self._errors,
        )

    def _data(self, negotiation: Negotiation, sctp_init: bytes | None, now: int) -> DataTransport | None:
        if negotiation.data is None:
            return None
        drops = self._drops.sctp
        association = make_association(negotiation, self._data_channel, now, os.urandom, drops, sctp_init)
        return DataTransport(EchoChannels(association), self.buffers, drops)

    def _restore_data(
        self, negotiation: Negotiation, sctp_init: bytes | None, kept: bytes, now: int
    ) -> DataTransport | None:
        if negotiation.data is not None and kept:
            return DataTransport.restore(
                kept, negotiation, self._data_channel, self.buffers, now=now, random_bytes=os.urandom,
                drops=self._drops.sctp,
            )  # fmt: skip
        data = self._data(negotiation, sctp_init, now)
        if data is not None:
            data.start(now)  # nothing of it ever left
        return data


def _addresses(record: SessionRecord) -> list[tuple[int, Address]]:
    by_srtp = set(record.media.srtp_proven)
    found = []
    for kept in record.addresses.read() or ():
        address = Address(kept.key, kept.id, kept.checked_ns)
        address.nominated = kept.nominated
        address.dtls_proven = kept.dtls_proven
        address.srtp_proven = kept.id in by_srtp
        address.proven = address.heard = address.dtls_proven or address.srtp_proven
        address.bytes_received, address.bytes_sent = kept.bytes_received, kept.bytes_sent
        found.append((kept.place, address))
    return found
