"""The supervisor: one process that owns the port, the tables and the lanes, and keeps the workers running.

Made by main.py. It composes: the lock (lock.py), the sockets (sockets.py), each worker's holding (holding.py), the
workers (children.py), the control socket (control.py) and what is offered there (attachments.py), the ufrag keys
(key_confirmation.py). It touches no packet, and while it is busy, stopped or dead-slow the workers go on.

Everything is imported before the first fork, so a successor starts with a copy of a warm process (FACTS 3).
"""

import gc
import logging
import signal
import socket
from collections.abc import Callable, Mapping

from relayd.admission import Admission
from relayd.attachments import Attachments
from relayd.children import LEAVE_PATIENCE_NS, LET_GO_PATIENCE_NS, Children, Household
from relayd.config import SOCKET_NAME, Relay
from relayd.configuration import Configuration
from relayd.control import ControlServer
from relayd.holding import Holding, flow_table_bytes
from relayd.kept import make_or_take_holding, open_or_take_sockets
from relayd.key_confirmation import KeyConfirmation, KeysRefused
from relayd.lease import Lease, Predecessors, WorkersLock
from relayd.legacy import (
    Legacy,
    adopt_holdings,
    adopt_lease,
    adopt_sockets,
    adopt_transceiverd,
    adopt_workers_lock,
    leave_transceiverd,
    leave_worker,
)
from relayd.sockets import PublicSockets
from relayd.status_report import Reporter
from relayd.worker import worker_counter_names
from shm.attach import Welcome
from shm.daemon.config import ConfigurationError
from shm.daemon.descriptor_store import DescriptorStore
from shm.daemon.handover import Inherited, Left, unblock_signals
from shm.daemon.lock import RuntimeLock, prepare_runtime_directory
from shm.daemon.logs import set_log_level
from shm.daemon.loop import EventLoop
from shm.daemon.memory import Wanted, taking
from shm.daemon.notify import notify
from shm.daemon.orders import OrderDesk, Reply, Report
from shm.daemon.process import place_workers, raise_descriptor_limit, usable_cpus
from shm.daemon.release import RELEASE, installed_release
from shm.daemon.reload import Source, announce_end, announce_reload, changed_settings, rehearsed_report
from shm.daemon.succession import Succession
from shm.daemon.watchdog import Watchdog

log = logging.getLogger("supervisor")

LOCK_NAME = "relayd.lock"
# How long a restarted relayd lets packets wait in the sockets for transceiverd, which tries every 50 ms (ns).
ATTACH_PATIENCE_NS = 400_000_000
# Likewise while the workers of the earlier one go on, so that nothing waits (ns).
SERVED_PATIENCE_NS = 2_000_000_000


class Supervisor:
    """Everything that relayd is, from start to end. `run` returns after SIGTERM or SIGINT."""

    def __init__(
        self, configuration: Configuration, source: Source[Configuration], inherited: Inherited | None = None
    ) -> None:
        """Take the lock, the port and the memory, from the system or from an older code of this process.

        Raises RuntimeDirectoryRefused, LockHeld, PortTaken, BindRefused, SocketPathRefused, KeyFileError, UnknownPeer,
        OSError; nothing is left behind then but the directory, its lock file and ufrag.keys, which by then another
        daemon may use.
        """
        raise_descriptor_limit()
        self._configuration = configuration
        self._source = source
        self._serving = False
        config, runtime_directory = configuration.relay, configuration.runtime_directory
        machine = configuration.ringline.machine
        prepare_runtime_directory(runtime_directory)
        admission = Admission.of(config.peers, config.group, runtime_directory)
        self._directory = runtime_directory
        legacy = None if inherited is None else inherited.state(Legacy)
        self._store = store = DescriptorStore()
        self._predecessors: Predecessors | None = None
        if legacy is None:
            self._lock = RuntimeLock(runtime_directory, LOCK_NAME)
            cpus = _cpus(config)
            self._workers_lock = WorkersLock(runtime_directory)
            self._predecessors = earlier = Predecessors(self._workers_lock, store)
            self._lease = Lease.make()
            self._sockets = open_or_take_sockets(config, len(cpus), store, earlier.end)
            self._holdings = _make_holdings(config, cpus, self._sockets, store, earlier.end)
            store.discard_rest()
        else:
            self._lock = RuntimeLock.adopt(runtime_directory / LOCK_NAME, legacy.lock)
            self._workers_lock = adopt_workers_lock(legacy, runtime_directory)
            self._lease = adopt_lease(legacy)
            self._sockets = adopt_sockets(legacy)
            self._holdings = adopt_holdings(legacy, self._sockets)
        self._keys = KeyConfirmation(runtime_directory)  # with the port in hand: a start refused for it makes no keys
        self._loop = EventLoop()
        self._children = Children(self._household(machine))
        self._keys.posts = list(self._children.posts)
        self._attachments = attachments = Attachments(self._holdings, self._children)
        self._reporter = reporter = Reporter(
            self._children, attachments, self._keys, runtime_directory, self._sockets.port, machine, config.batch
        )
        self._control = ControlServer(
            self._loop,
            runtime_directory / SOCKET_NAME,
            config.group,
            admission,
            config.connections,
            attachments,
            self._keys,
            lambda layout: self._welcome(layout, machine, config),
            lambda: reporter.report(self._control),
            None if legacy is None else socket.socket(fileno=legacy.listener),
        )
        self._succession = Succession(self._loop, "relayd", self._leave, self._is_quiet)
        self._orders = OrderDesk(
            self._loop,
            runtime_directory,
            "relayd",
            {
                "reload": self._take_changes,
                "reload-check": self._look_over_changes,
                "upgrade": self._succession.order,
                "releases": self._releases,
            },
        )
        if inherited is not None and legacy is not None:
            self._adopt(inherited, legacy)

    @property
    def port(self) -> int:
        """The UDP port that was taken in the end."""
        return self._sockets.port

    def run(self) -> None:
        """Serve until told to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.on_signal(number, self._loop.stop)
        self._loop.on_signal(signal.SIGHUP, lambda: self._take_changes({}, lambda _report: None))
        unblock_signals()
        gc.collect()
        gc.freeze()  # a collection here or in a worker would else touch, and so copy, every page they share
        if self._sockets.taken_over:
            self._control.on_ready = self._serve
            served = self._predecessors is not None and self._predecessors.serving
            self._loop.call_after(SERVED_PATIENCE_NS if served else ATTACH_PATIENCE_NS, self._serve)
        else:
            self._serve()
        self._loop.run()
        self._stop()

    def _serve(self) -> None:
        """Start the workers, once. After a restart that is when transceiverd has offered its lanes again: what waits in
        the sockets would else be read before anybody could be found whose it is."""
        if self._serving:
            return
        self._serving = True
        if self._predecessors is not None and self._predecessors.serving:
            self._predecessors.end()
        self._children.start()
        if self._store.available:
            self._lease.keep(self._store)
        log.info("serving UDP port %d with %d workers, control socket %s", self.port, len(self._holdings), SOCKET_NAME)
        notify("READY=1", f"STATUS=UDP port {self.port}, {len(self._holdings)} workers")
        Watchdog(self._loop, self._children.signs).start()

    def _stop(self) -> None:
        log.info("stopping")
        notify("STOPPING=1")
        self._orders.close()
        if self._lease.kept:
            self._children.let_go(LET_GO_PATIENCE_NS)  # before they could hear that transceiverd's lanes are gone
        self._control.close()
        self._children.stop(LEAVE_PATIENCE_NS)
        for holding in self._holdings:
            holding.close()
        self._loop.close()
        self._workers_lock.release()
        self._lock.release()
        log.info("stopped")

    def _take_changes(self, arguments: Mapping[str, str], reply: Reply) -> None:
        """SIGHUP and the order `reload`: take what was changed, be it code or configuration."""
        if installed_release() != RELEASE:
            self._succession.order(arguments, reply)
        else:
            reply(self._reload())

    def _look_over_changes(self, _arguments: Mapping[str, str], reply: Reply) -> None:
        """What `reload` would say to the configuration; other code is looked over by the rehearsal of its upgrade."""
        other_code = installed_release() != RELEASE
        reply(
            Report(True, "new code is installed") if other_code else rehearsed_report(self._configuration, self._source)
        )

    # ------------------------------------------------------------------ new code in this process

    def _is_quiet(self) -> bool:
        """Whether nothing is under way that only this process's memory knows of."""
        transceiverd = self._control.transceiverd
        told = transceiverd is None or transceiverd.quiet
        return self._loop.running and told and self._keys.quiet and self._children.quiet

    def _leave(self) -> Left:
        for holding in self._holdings:
            holding.mend()
        legacy = Legacy(
            lock=self._lock.fd,
            listener=self._control.listener.fileno(),
            port=self.port,
            started_ns=self._reporter.started_ns,
            upgrades=self._reporter.upgrades + 1,
            workers=[leave_worker(post) for post in self._children.posts],
            transceiverd=leave_transceiverd(self._control.transceiverd, self._attachments),
            workers_lock=self._workers_lock.fd,
            lease=(self._lease.reader, self._lease.writer),
        )
        segments = [segment for holding in self._holdings for segment in holding.segments()]
        return Left(legacy, legacy.descriptors(), {segment.major for segment in segments})

    def _releases(self, _arguments: Mapping[str, str], reply: Reply) -> None:
        """The order `releases`: how far an upgrade is."""
        workers = {post.name: post.process.release for post in self._children.posts if post.process is not None}
        details = {"upgrades": self._reporter.upgrades, "upgrading": self._children.swapping.at_work,
                   "processes": {"supervisor": RELEASE, **workers}}  # fmt: skip
        reply(Report(True, f"release {RELEASE}", details))

    def _adopt(self, inherited: Inherited, legacy: Legacy) -> None:
        """Processes and conversations go on."""
        for post, left in zip(self._children.posts, legacy.workers, strict=True):
            if left.process is not None:
                post.adopt(left.process)
        if legacy.transceiverd is not None:
            adopt_transceiverd(legacy.transceiverd, self._attachments, self._control)
        self._reporter.started_ns, self._reporter.upgrades = legacy.started_ns, legacy.upgrades
        inherited.claim(legacy.descriptors())
        unclaimed = inherited.close_rest()
        log.info("release %s goes on with what %s left%s", RELEASE, inherited.release,
                 f"; {unclaimed} descriptors of it are unknown here" if unclaimed else "")  # fmt: skip

    def _reload(self) -> Report:
        """Take what can change, or refuse all of it with the reason (SIGHUP, and `relayctl reload relayd`)."""
        announce_reload()
        try:
            change = changed_settings(self._configuration, self._source)
            self._keys.reload(attached=self._control.transceiverd is not None)
        except (ConfigurationError, KeysRefused) as error:
            report = Report(False, str(error))
        else:
            self._configure(change.settings)
            report = change.report()
        announce_end(report)
        return report

    def _configure(self, configuration: Configuration) -> None:
        self._configuration = configuration
        config, level = configuration.relay, configuration.ringline.log_level
        set_log_level(level)
        admission = Admission.of(config.peers, config.group, self._directory)
        self._control.configure(admission, config.connections)
        self._children.configure(config, level)

    def _household(self, machine: int) -> Household:
        return Household(
            loop=self._loop,
            config=lambda: self._configuration.relay,
            machine=machine,
            supervisor=self._lock.owner_pid,
            lock_fd=self._workers_lock.fd,
            lease_fd=self._lease.reader if self._store.available else None,
            keys=lambda: self._keys.keys,
            holdings=self._holdings,
            on_started=self._worker_started,
            on_keys_loaded=self._keys.settle,
        )

    def _welcome(self, layout: int, machine: int, config: Relay) -> Welcome:
        return Welcome(
            layout=layout,
            workers=len(self._holdings),
            worker_pids=self._children.pids(),
            machine=machine,
            key_ids=self._keys.keys.fingerprints(),
            port=self.port,
            bind4=config.bind4,
            bind6=config.bind6 if self._sockets.has_ipv6 else "",
        )

    def _worker_started(self, worker: int, pid: int) -> None:
        self._workers_lock.sign(post.pid for post in self._children.posts if post.pid)
        self._control.worker_replaced(worker, pid)


def _cpus(config: Relay) -> list[int | None]:
    """Each worker's CPU, None for a worker that is not pinned."""
    usable = usable_cpus()
    missing = [cpu for cpu in config.cpus if cpu not in usable]
    if missing:
        log.warning("[relay] cpus asks for %d CPUs, relayd may use %d of them; not usable: %s",
                    len(config.cpus), len(config.cpus) - len(missing), missing)  # fmt: skip
    placed: list[int | None] = list(place_workers(config.workers, config.cpus, usable))
    if not placed:
        log.warning("no CPU of [relay] cpus is usable; %d workers run unpinned", config.workers or 1)
        return [None] * (config.workers or 1)
    distinct = len(set(placed))
    if distinct < len(placed):
        log.warning("%d workers are asked for, relayd may use %d CPUs: workers share them", len(placed), distinct)
    return placed


def _make_holdings(
    config: Relay,
    cpus: list[int | None],
    sockets: PublicSockets,
    store: DescriptorStore,
    end_predecessors: Callable[[], None],
) -> list[Holding]:
    names = worker_counter_names()
    entries = config.flow_table_entries
    tables = Wanted("[relay] flow_table_entries", entries, "flow tables", len(cpus), flow_table_bytes(entries))
    with taking(tables, sum(f"flows.{index}" not in store.names for index in range(len(cpus)))):
        return [
            make_or_take_holding(
                index,
                cpu,
                pair,
                names,
                entries,
                store,
                end_predecessors,
                new_sockets=not sockets.taken_over,
            )
            for index, (cpu, pair) in enumerate(zip(cpus, sockets.workers, strict=True))
        ]
