"""Ready-made ends of a call for tests, all sans-I/O and seeded.

The ICE half: flow keys as both ends see them, a client (`ControllingAgent`) and the lite agent it calls.
"""

import random
from ipaddress import ip_address
from typing import Any

from shm.flowkey import TRANSPORT_UDP, FlowKey
from transceiverd.engine import SECOND
from transceiverd.ice.addresses import AddressSink
from transceiverd.ice.agent import LiteAgent
from transceiverd.ice.config import IceConfig
from transceiverd.ice.controlling import ControllingAgent, ControllingConfig
from transceiverd.ice.pairs import TYPE_PREFERENCE_HOST, candidate_priority

SERVER_UFRAG = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"  # 30 characters, as ours are
SERVER_PASSWORD = "server-password-0123456789"
CLIENT_UFRAG = "cl1e"
CLIENT_PASSWORD = "client-password-0123456789"
SERVER = ("192.0.2.10", 3478)
CLIENT = ("198.51.100.7", 50000)
HOST_PRIORITY = candidate_priority(TYPE_PREFERENCE_HOST)


def flow(peer: tuple[str, int] = CLIENT, local: tuple[str, int] = SERVER) -> bytes:
    """A packed UDP flow key: `peer` is who we talk to, `local` our own address."""
    return FlowKey(TRANSPORT_UDP, ip_address(peer[0]), peer[1], ip_address(local[0]), local[1]).pack()


def seeded_bytes(seed: int) -> Any:
    """A stand-in for `os.urandom` that gives the same bytes in every run."""
    return random.Random(seed).randbytes


def ice_client(
    *,
    seed: int = 1,
    now: int = SECOND,
    controlling: bool = True,
    pairs: tuple[tuple[tuple[str, int], tuple[str, int]], ...] = ((SERVER, CLIENT),),
    password: str = SERVER_PASSWORD,
    **settings: Any,
) -> ControllingAgent:
    """A client that will check `pairs` of (server address, own address), the first with the highest priority."""
    client = ControllingAgent(
        CLIENT_UFRAG,
        CLIENT_PASSWORD,
        SERVER_UFRAG,
        password,
        ControllingConfig(**settings),
        now=now,
        controlling=controlling,
        random_bytes=seeded_bytes(seed),
    )
    for index, (server, own) in enumerate(pairs):
        client.add_pair(flow(server, own), HOST_PRIORITY, local_preference=65535 - index)
    return client


def ice_server(
    *,
    now: int = SECOND,
    remote_ufrag: str | None = CLIENT_UFRAG,
    sink: AddressSink | None = None,
    **settings: Any,
) -> LiteAgent:
    """The lite agent that `ice_client` calls."""
    return LiteAgent(SERVER_UFRAG, SERVER_PASSWORD, remote_ufrag, IceConfig(**settings), now=now, sink=sink)
