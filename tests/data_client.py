"""A bottle's client with data channels: an association of ours inside its own DTLS, over any link or a real socket.

`DataClient` adds to any `Client` that exists: it takes what DTLS delivers and puts packets into it. A test can send
whatever it likes by `client.dtls.send`.
"""

from typing import Any

import msgspec

from tests.bottle import Client
from tests.peers import seeded_bytes
from transceiverd.calls import Created
from transceiverd.dtls.engine import ApplicationDataReceived, HandshakeCompleted, Role
from transceiverd.engine import Datagram, Drops, Timeout
from transceiverd.sctp.association import Association
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.events import MessageReceived
from transceiverd.sdp.negotiation import DataNegotiation

PORT = 5000
MTU = 1_150  # fits a DTLS record


def data_negotiation(remote_init: bytes | None = None, max_message_size: int = 262_144) -> DataNegotiation:
    """What an offer with a data section comes to."""
    return DataNegotiation(1, PORT, max_message_size, PORT, 262_144, remote_init)


class DataClient(Client):
    """The calling end. `received`: messages that came back, by stream id. `budget`: SCTP packets a poll may make."""

    def __init__(
        self,
        created: Created,
        dtls_role: Role,
        *,
        config: DataChannelConfig | None = None,
        local_init: bytes | None = None,
        seed: int = 1,
        **more: Any,
    ) -> None:
        super().__init__(created, dtls_role, seed=seed, **more)
        self.association = Association(
            msgspec.structs.replace(config or DataChannelConfig(), mtu=MTU), local_port=PORT, remote_port=PORT,
            dtls_role="client" if dtls_role is Role.CLIENT else "server", remote_max_message_size=262_144,
            now=self.now, random_bytes=seeded_bytes(seed), drops=Drops(), local_init=local_init,
            remote_init=created.sctp_init,
        )  # fmt: skip
        self.received: dict[int, list[bytes]] = {}
        self.packets: list[bytes] = []  # SCTP packets that came
        self.events: list[Any] = []
        self.own_sctp = True  # False: a test speaks SCTP by itself

    def on_dtls(self, event: object) -> None:
        if isinstance(event, HandshakeCompleted) and self.own_sctp:
            self.association.start(self.now)
        elif isinstance(event, ApplicationDataReceived):
            self.packets.append(event.data)
            if self.own_sctp:
                self.association.receive_datagram(event.data, self.now)

    def handle_timeout(self, now: int) -> None:
        super().handle_timeout(now)
        if self.done is not None and self.own_sctp:
            self.association.handle_timeout(now)

    def next_timeout(self) -> Timeout | None:
        found = [super().next_timeout()]
        if self.done is not None and self.own_sctp:
            found.append(self.association.next_timeout())
        return min((each for each in found if each is not None), default=None)

    def poll_datagram(self) -> Datagram | None:
        if self.done is not None and self.own_sctp:
            self._work()
        return super().poll_datagram()

    def _work(self) -> None:
        while (event := self.association.poll_event()) is not None:
            if isinstance(event, MessageReceived):
                self.received.setdefault(event.stream_id, []).append(event.data)
            else:
                self.events.append(event)
        while (packet := self.association.poll_datagram()) is not None:
            self.dtls.send(packet, self.now)
