"""transceiverd's supervisor: holds the session segments, makes the lanes, keeps the processes running (DESIGN 2.7).

Made by main.py. It touches no packet and no call: it forks the transceivers and the signalling process, hands each
what it needs, attaches to relayd whenever there is one, and replaces what dies or stands still.
"""

import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from shm import attach
from shm.counters import Counters
from shm.daemon.lock import RuntimeLock, prepare_runtime_directory
from shm.daemon.loop import EventLoop
from shm.daemon.notify import notify
from shm.daemon.orders import OrderDesk
from shm.daemon.post import Post, end_all
from shm.daemon.process import raise_descriptor_limit
from shm.daemon.reload import Source
from shm.daemon.restarts import RestartBackoff
from shm.daemon.stall import StallWatch
from transceiverd import links
from transceiverd.holding import Holding
from transceiverd.link import socket_pair
from transceiverd.reconfiguration import Reconfiguration
from transceiverd.relay_attachment import Offer, RelayAttachment
from transceiverd.rotation import Rotation
from transceiverd.settings import Settings
from transceiverd.signalling_process import SignallingBirth, run_signalling
from transceiverd.transceiver import Birth, run_transceiver

log = logging.getLogger("supervisor")

LOCK_NAME = "transceiverd.lock"
KEY_FILE_NAME = "ufrag.keys"
LOOKS_PER_STALL = 8  # at the heartbeats within stuck_after_ms
KILL_AFTER_NS = 500_000_000  # beyond stop_seconds, for a process that does not end
# A crash loop: this many deaths in the window are answered at once, further ones ever later.
RESTART_BURST = 5
RESTART_WINDOW_NS = 10_000_000_000


class Supervisor:
    """Everything that transceiverd is, from start to end. `run` returns after SIGTERM or SIGINT."""

    def __init__(self, settings: Settings, source: Source[Settings]) -> None:
        """Take the lock and the memory.

        Raises RuntimeDirectoryRefused, LockHeld, KeyFileError, OSError.
        """
        raise_descriptor_limit()
        runtime_directory = Path(settings.directory)
        prepare_runtime_directory(runtime_directory)
        self._directory = runtime_directory
        self._lock = RuntimeLock(runtime_directory, LOCK_NAME)
        self._machine = settings.ringline.machine
        self._relay_state = links.RelayState(attached=False)
        self._loop = EventLoop()
        self._rotation = Rotation(
            self._loop, runtime_directory / KEY_FILE_NAME, lambda: self._relay, lambda: self._transceivers
        )
        self._reconfiguration = Reconfiguration(
            settings, source, self._loop, self._rotation, self._posts, self._reconfigured
        )
        count = settings.transceiver.count or max(1, len(os.sched_getaffinity(0)) // 2)
        self._holdings = [Holding.make(index, settings.transceiver) for index in range(count)]
        self._transceivers = [self._make_transceiver(holding) for holding in self._holdings]
        self._signalling = self._make_signalling()
        self._signalling_beats = 0
        self._watches = self._make_watches()
        self._relay = RelayAttachment(
            self._loop,
            runtime_directory,
            self._welcomed,
            self._attached,
            self._detached,
            self._worker_replaced,
        )
        self._orders = OrderDesk(
            self._loop,
            runtime_directory,
            "transceiverd",
            {
                "reload": lambda _arguments, reply: self._reconfiguration.reload(reply),
                "keys-rotate": self._rotation.rotate,
                "keys-show": self._rotation.show,
            },
        )

    @property
    def _settings(self) -> Settings:
        """As the last reload left them."""
        return self._reconfiguration.settings

    def _reconfigured(self) -> None:
        self._watches = self._make_watches()

    def _posts(self) -> list[Post[links.Message]]:
        return [*self._transceivers, self._signalling]

    def run(self) -> None:
        """Serve until told to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.on_signal(number, self._loop.stop)
        self._loop.on_signal(signal.SIGHUP, self._reconfiguration.reload)
        gc.collect()
        gc.freeze()  # a collection here or in a child would else touch, and so copy, every page they share
        for post in self._transceivers:
            post.start()
        self._signalling.start()
        self._relay.start()
        self._look()
        notify("READY=1")
        self._loop.run()
        self._stop()

    # ------------------------------------------------------------------ processes

    def _make_signalling(self) -> Post[links.Message]:
        return Post(
            "signalling",
            self._loop,
            self._be_signalling,
            links.encode,
            RestartBackoff(RESTART_BURST, RESTART_WINDOW_NS),
            pair=socket_pair,
            on_started=self._signalling_started,
            on_message=self._signalling_says,
            on_ended=lambda: self._reconfiguration.gone("signalling"),
        )

    def _make_transceiver(self, holding: Holding) -> Post[links.Message]:
        index = holding.index
        return Post(
            f"transceiver {index}",
            self._loop,
            lambda control: self._be_transceiver(holding, control),
            links.encode,
            RestartBackoff(RESTART_BURST, RESTART_WINDOW_NS),
            pair=socket_pair,
            before_start=holding.renew,
            on_started=lambda: self._transceiver_started(holding),
            on_message=lambda data: self._transceiver_says(holding, data),
            on_ended=lambda: self._transceiver_ended(index),
        )

    def _be_transceiver(self, holding: Holding, control: socket.socket) -> None:
        birth = Birth(
            transceiver=holding.index,
            machine=self._machine,
            supervisor=self._pid,
            holding=holding,
            keys=self._rotation.keys,
            settings=self._settings,
            lock_fd=self._lock.fd,
        )
        run_transceiver(birth, control)

    def _be_signalling(self, control: socket.socket) -> None:
        first = self._signalling.restarts == 0
        birth = SignallingBirth(self._pid, self._machine, self._settings, self._directory, self._lock.fd, first)
        run_signalling(birth, control)

    @property
    def _pid(self) -> int:
        return self._lock.owner_pid

    def _transceiver_started(self, holding: Holding) -> None:
        """Join the new process to signalling, and tell both how things stand."""
        self._relay.tell(attach.Incarnation(holding.index, holding.incarnation))
        self._join(holding)
        if self._relay.attached:
            self._transceivers[holding.index].send(links.RelayAttached())

    def _transceiver_ended(self, index: int) -> None:
        self._signalling.send(links.TransceiverGone(index))
        self._rotation.gone(index)
        self._reconfiguration.gone(self._transceivers[index].name)

    def _signalling_started(self) -> None:
        for holding in self._holdings:
            self._join(holding)
        self._signalling.send(self._relay_state)

    def _join(self, holding: Holding) -> None:
        """A link between this transceiver and signalling, when both run."""
        post = self._transceivers[holding.index]
        if post.process is None or self._signalling.process is None:
            return
        try:
            ours, theirs = socket_pair()
        except OSError as error:  # without the link it would get no calls, so it asks again (desk.py)
            log.error("transceiver %d cannot be joined to signalling: %s; trying on", holding.index, error.strerror)
            return
        with ours, theirs:
            counters = [holding.control_counters.fd, holding.media_counters.fd]
            post.send(links.UseSignalling(), [ours.fileno()])
            message = links.UseTransceiver(holding.index, self._settings.transceiver.slots)
            self._signalling.send(message, [theirs.fileno(), *counters])

    def _look(self) -> None:
        """Find processes whose loops stand still: the beat comes from the loop itself, whether it has work or not."""
        now = time.monotonic_ns()
        for post, watches in self._watches:
            if post.process is None:
                continue
            stuck = [watch.observe(beat(), lambda: True, now) for watch, beat in watches]  # each has to look
            if any(stuck):
                post.kill_stuck(f"made no turn for {self._settings.transceiver.stuck_after_ms} ms")
                self._watches = self._make_watches()  # its successor starts with a clean slate
        self._loop.call_after(self._stuck_ns // LOOKS_PER_STALL, self._look)

    @property
    def _stuck_ns(self) -> int:
        return self._settings.transceiver.stuck_after_ms * 1_000_000

    def _make_watches(self) -> list[tuple[Post[links.Message], list[tuple[StallWatch, Callable[[], int]]]]]:
        """Every loop there is: control and media of each transceiver, and signalling's."""

        def watch(beat: Callable[[], int]) -> tuple[StallWatch, Callable[[], int]]:
            return StallWatch(self._stuck_ns, self._stuck_ns // LOOKS_PER_STALL), beat

        def beat_of(counters: Counters) -> Callable[[], int]:
            return lambda: counters.segment.heartbeat

        watches = [
            (post, [watch(beat_of(holding.control_counters)), watch(beat_of(holding.media_counters))])
            for holding, post in zip(self._holdings, self._transceivers, strict=True)
        ]
        return [*watches, (self._signalling, [watch(lambda: self._signalling_beats)])]

    def _signalling_says(self, data: bytes) -> None:
        match links.decode(data):
            case links.Alive():  # from its loop
                self._signalling_beats += 1
            case links.SettingsTaken(version):
                self._reconfiguration.taken("signalling", version)

    def _transceiver_says(self, holding: Holding, data: bytes) -> None:
        match links.decode(data):
            case links.NeedSignalling() if self._signalling.process is not None:
                # It has no link though both live: it broke, or could not be made when it was time.
                log.warning("transceiver %d has no link to signalling; joining them again", holding.index)
                self._join(holding)
            case links.KeyUse() as use:
                self._rotation.hear(holding.index, use)
            case links.SettingsTaken(version):
                self._reconfiguration.taken(self._transceivers[holding.index].name, version)

    # ------------------------------------------------------------------ the relay

    def _welcomed(self, welcome: attach.Welcome) -> list[Offer]:
        """relayd speaks: make the lanes that are missing, give them to the transceivers, offer everything."""
        if welcome.machine != self._machine:
            log.error("relayd is machine %d, we are %d: set [ringline] machine alike", welcome.machine, self._machine)
        self._relay_state = links.RelayState(True, welcome.port, welcome.bind4, welcome.bind6)
        offers: list[Offer] = []
        for holding, post in zip(self._holdings, self._transceivers, strict=True):
            for worker in holding.drop_lanes(welcome.workers):
                post.send(links.DropLane(worker))
            for worker in holding.add_lanes(welcome.workers, self._settings.transceiver):
                post.send(links.UseLane(worker), holding.lanes[worker].fds)
            offers += self._offers_of(holding, welcome.workers)
        keys = self._rotation.keys
        offers.append((attach.ConfirmKey(keys.current, keys.fingerprint(keys.current)), ()))
        offers.append((attach.Ready(len(self._holdings)), ()))
        return offers

    @staticmethod
    def _offers_of(holding: Holding, workers: int) -> list[Offer]:
        index, incarnation = holding.index, holding.incarnation
        lanes: list[Offer] = [
            (attach.OfferLane(index, worker, incarnation), lane.fds)
            for lane, worker in holding.lanes_of()
            if worker < workers
        ]
        counters: list[Offer] = [
            (attach.OfferCounters(f"transceiver {index} control", index), [holding.control_counters.fd]),
            (attach.OfferCounters(f"transceiver {index} media", index), [holding.media_counters.fd]),
        ]
        return lanes + counters

    def _attached(self) -> None:
        for post in self._transceivers:
            post.send(links.RelayAttached())
        self._signalling.send(self._relay_state)

    def _detached(self) -> None:
        self._relay_state = links.RelayState(attached=False)
        for post in self._transceivers:
            post.send(links.RelayDetached())
        self._signalling.send(self._relay_state)

    def _worker_replaced(self, worker: int) -> None:
        """It goes on with the same rings; a doorbell that its predecessor swallowed is made good by its own start."""
        log.info("relay worker %d was replaced", worker)

    # ------------------------------------------------------------------ the end

    def _stop(self) -> None:
        log.info("stopping")
        notify("STOPPING=1")
        self._orders.close()
        self._signalling.retire(links.Stop("stop"))
        for post in self._transceivers:
            post.retire(links.Stop("shutdown"))
        end_all(self._loop, self._posts(), int(self._settings.transceiver.stop_seconds * 1e9) + KILL_AFTER_NS)
        self._relay.close()
        for holding in self._holdings:
            holding.close()
        self._loop.close()
        self._lock.release()
        log.info("stopped")
