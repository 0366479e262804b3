"""What a restarted relayd finds of its predecessor in systemd's descriptor store: sockets, flow tables, counters.

Called by supervisor.py at its start. The sockets above all: what waits in one survives as long as anybody has it open,
and the kernel's choice of socket for a client does not move, so a restart costs no packet that a buffer can hold. With
the flow tables a call's packets are known as soon as its transceiver has attached again, before it is published anew;
with the counters the books go on, and say what was lost. Kept by name and worker: `udp4.0`, `udp6.0`, `flows.0`,
`counters.0`. A worker's successor takes these over when a worker dies; here a whole relayd's successor does the same.

Taken again is what fits the configuration and this release: as many workers, addresses, port, size of table, names of
counters. What does not is given up, and the store has closed it before anything is made or bound anew.

Leaves out: the lanes, which are transceiverd's to offer (DESIGN 2.7).
"""

import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence
from typing import TypeVar

from relayd.config import Relay
from relayd.holding import Holding, flow_table_capacity
from relayd.sockets import PublicSockets, WorkerSockets, open_sockets, set_options
from shm.counters import Counters
from shm.daemon.descriptor_store import DescriptorStore
from shm.errors import LayoutRefused
from shm.flows import FlowTable

log = logging.getLogger("supervisor")

T = TypeVar("T")


def open_or_take_sockets(
    config: Relay, workers: int, store: DescriptorStore, end_predecessors: Callable[[], None]
) -> PublicSockets:
    """A pair for each worker, the predecessor's if they fit; kept from now on. Raises what `open_sockets` raises.

    `end_predecessors` is called when they do not: their workers hold the port."""
    sockets = _taken_sockets(config, workers, store)
    if sockets is None:
        end_predecessors()
        store.discard(sorted(name for name in store.names if name.startswith("udp")))
        sockets = open_sockets(
            workers,
            port=config.port,
            port_search=config.port_search,
            bind4=config.bind4,
            bind6=config.bind6,
            receive_buffer_bytes=config.receive_buffer_bytes,
        )
    for index, pair in enumerate(sockets.workers):
        for name, fd in zip(("udp4", "udp6"), pair.fds, strict=True):
            if fd >= 0:
                store.keep(f"{name}.{index}", fd)
    return sockets


def _taken_sockets(config: Relay, workers: int, store: DescriptorStore) -> PublicSockets | None:
    has4 = bool(config.bind4)
    # A machine without IPv6 has none to keep, which open_sockets has warned of.
    has6 = bool(config.bind6) and ("udp6.0" in store.names or config.bind6 != "::" or not has4)
    pairs = [
        WorkerSockets(
            _taken_socket(store, f"udp4.{index}") if has4 else None,
            _taken_socket(store, f"udp6.{index}") if has6 else None,
        )
        for index in range(workers)
    ]
    found = [sock for pair in pairs for sock in (pair.v4, pair.v6) if sock is not None]
    ports = {sock.getsockname()[1] for sock in found}
    complete = len(found) == workers * (has4 + has6)
    if not complete or len(ports) != 1 or not all(_fits(sock, config) for sock in found):
        for pair in pairs:
            pair.close()
        return None
    for pair in pairs:
        set_options(pair, config.receive_buffer_bytes, warn=pair is pairs[0])
    log.info("took over the sockets of UDP port %d, with what waits in them", *ports)
    return PublicSockets(ports.pop(), tuple(pairs), taken_over=True)


def _taken_socket(store: DescriptorStore, name: str) -> socket.socket | None:
    fd = store.take(name)
    return None if fd is None else socket.socket(fileno=fd)


def _fits(sock: socket.socket, config: Relay) -> bool:
    """Whether `open_sockets` could have made it."""
    bind = {socket.AF_INET: config.bind4, socket.AF_INET6: config.bind6}.get(sock.family)
    if not bind or sock.type != socket.SOCK_DGRAM:
        return False
    address, port = sock.getsockname()[:2]
    allowed = not config.port or config.port <= port <= config.port + config.port_search
    return allowed and ipaddress.ip_address(address) == ipaddress.ip_address(bind)


def make_or_take_holding(
    index: int,
    cpu: int | None,
    pair: WorkerSockets,
    counter_names: Sequence[str],
    entries: int,
    store: DescriptorStore,
    end_predecessors: Callable[[], None],
    *,
    new_sockets: bool,
) -> Holding:
    """What a worker gets; kept from now on. `new_sockets`: `pair` was not the predecessor's. OSError when there is not
    enough memory."""
    flows, counters = _taken_flows(index, entries, store), _taken_counters(index, counter_names, store)
    if counters is not None and new_sockets:
        # They follow the running totals of the sockets (worker.pyx), which begin anew with these.
        for name in ("kernel_dropped_v4", "kernel_dropped_v6"):
            counters.set(name, 0)
    if flows is None:
        end_predecessors()  # what transceivers publish next must not go into a table that nobody will have
    made = Holding.make(
        index, cpu, pair, counter_names=counter_names, flow_entries=entries, flows=flows, counters=counters
    )
    for name, segment in ((f"flows.{index}", made.flows.segment), (f"counters.{index}", made.counters.segment)):
        store.keep(name, segment.fd)
    return made


def _taken_flows(index: int, entries: int, store: DescriptorStore) -> FlowTable | None:
    """None when there is none that fits, or it is another release's, or no table at all."""
    table = _attached(f"flows.{index}", FlowTable.attach, store)
    if table is not None and table.capacity != flow_table_capacity(entries):
        table.segment.close()
        store.discard([f"flows.{index}"])
        return None
    return table


def _taken_counters(index: int, names: Sequence[str], store: DescriptorStore) -> Counters | None:
    counters = _attached(f"counters.{index}", Counters.attach, store)
    if counters is not None and counters.names != tuple(names):
        counters.segment.close()
        store.discard([f"counters.{index}"])
        return None
    return counters


def _attached(name: str, attach: Callable[[int], T], store: DescriptorStore) -> T | None:
    fd = store.take(name)
    if fd is None:
        return None
    try:
        return attach(fd)
    except (ValueError, OSError, LayoutRefused) as error:
        log.warning("what was kept as %s is given up: %s", name, error)
        store.discard([name])
        return None
