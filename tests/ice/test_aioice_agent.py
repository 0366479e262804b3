"""aioice as a real agent on loopback against our lite agent behind a few lines of asyncio."""

import asyncio
import socket
import time
from ipaddress import ip_address
from typing import Any

import aioice
import pytest

from shm.flowkey import TRANSPORT_UDP, FlowKey, key_client
from tests.peers import SERVER_PASSWORD, SERVER_UFRAG
from transceiverd.ice.agent import AddressChecked, AddressNominated, LiteAgent
from transceiverd.ice.config import IceConfig


class Driver(asyncio.DatagramProtocol):
    """Carries packets between a socket and an agent; everything that is not STUN is said back to where it came from."""

    def __init__(self, agent: LiteAgent) -> None:
        self.agent = agent
        self.events: list[object] = []
        self.nominated = asyncio.Event()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        local = self.transport.get_extra_info("sockname")
        source = FlowKey(TRANSPORT_UDP, ip_address(address[0]), address[1], ip_address(local[0]), local[1]).pack()
        if data[0] > 3:
            if self.agent.may_hear(source):
                self.transport.sendto(b"echo " + data, address)
            return
        self.agent.receive_datagram(data, source, time.monotonic_ns())
        while (datagram := self.agent.poll_datagram()) is not None:
            self.transport.sendto(datagram.data, key_client(datagram.destination))
        while (event := self.agent.poll_event()) is not None:
            self.events.append(event)
            if isinstance(event, AddressNominated):
                self.nominated.set()


async def call(host: str) -> tuple[Driver, bytes]:
    """One aioice connection to a fresh lite agent; returns the driver and what came back for b"hello"."""
    client = aioice.Connection(ice_controlling=True)
    agent = LiteAgent(SERVER_UFRAG, SERVER_PASSWORD, client.local_username, IceConfig(), now=time.monotonic_ns())
    loop = asyncio.get_running_loop()
    transport, driver = await loop.create_datagram_endpoint(lambda: Driver(agent), local_addr=(host, 0))
    port = transport.get_extra_info("sockname")[1]
    client.remote_username, client.remote_password, client.remote_is_lite = SERVER_UFRAG, SERVER_PASSWORD, True
    try:
        await client.gather_candidates()
        await client.add_remote_candidate(aioice.Candidate("1", 1, "udp", 2130706431, host, port, "host"))
        await client.add_remote_candidate(None)
        await client.connect()
        await driver.nominated.wait()
        await client.send(b"hello")
        return driver, await client.recv()
    finally:
        await client.close()
        transport.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_agent_aioice_connects_and_nominates(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # aioice gathers no loopback addresses by itself, and only loopback may be used here.
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: [host])
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        pytest.skip(f"no {host} on this machine: {error}")
    driver, back = asyncio.run(asyncio.wait_for(call(host), 30))
    assert back == b"echo hello"
    assert [type(event) for event in driver.events] == [AddressChecked, AddressNominated]
    assert driver.agent.drops == {}
