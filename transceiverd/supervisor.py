"""transceiverd's supervisor: holds the session segments, makes the lanes, keeps the processes running (DESIGN 2.7).

Made by main.py. It touches no packet and no call: it forks the transceivers (transceivers.py) and the signalling
process (signalling_post.py), hands each what it needs, attaches to relayd whenever there is one, and replaces what
dies or stands still. It ends by a drain (drain.py).
"""

import gc
import logging
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from shm import attach
from shm.daemon.handover import Inherited, Left, unblock_signals
from shm.daemon.lock import RuntimeLock, prepare_runtime_directory
from shm.daemon.loop import EventLoop
from shm.daemon.notify import notify
from shm.daemon.orders import Handler, OrderDesk, Reply, Report
from shm.daemon.post import Post, end_all
from shm.daemon.process import raise_descriptor_limit, warn_of_cpus
from shm.daemon.release import RELEASE, installed_release
from shm.daemon.reload import Source
from shm.daemon.succession import Succession
from shm.daemon.watchdog import Sign, Watchdog
from transceiverd import links
from transceiverd.drain import BAD_DEADLINE, Drain, read_deadline
from transceiverd.holding import Holding
from transceiverd.legacy import LeftRelay, Legacy
from transceiverd.link import socket_pair
from transceiverd.listening import Doors
from transceiverd.reconfiguration import Reconfiguration
from transceiverd.relay_attachment import Offer, RelayAttachment
from transceiverd.rotation import Rotation
from transceiverd.settings import Settings
from transceiverd.signalling.server import SHUTDOWN_SECONDS
from transceiverd.signalling_post import SignallingPost
from transceiverd.takeover import Takeover
from transceiverd.transceivers import House, Place, Places

log = logging.getLogger("supervisor")

LOCK_NAME = "transceiverd.lock"
KEY_FILE_NAME = "ufrag.keys"
SIGNALLING_PATIENCE_NS = int((SHUTDOWN_SECONDS + 0.5) * 1e9)  # until it is killed


class Supervisor:
    """Everything that transceiverd is, from start to end. `run` returns after SIGTERM or SIGINT."""

    def __init__(self, settings: Settings, source: Source[Settings], inherited: Inherited | None = None) -> None:
        """Take the lock, the ports and the memory, from the system or from an older code of this process.

        Raises RuntimeDirectoryRefused, LockHeld, KeyFileError, OSError.
        """
        raise_descriptor_limit()
        runtime_directory = Path(settings.directory)
        prepare_runtime_directory(runtime_directory)
        legacy = None if inherited is None else inherited.state(Legacy)
        if legacy is None:
            self._lock = RuntimeLock(runtime_directory, LOCK_NAME)
        else:
            self._lock = RuntimeLock.adopt(runtime_directory / LOCK_NAME, legacy.lock)
        self._machine = settings.ringline.machine
        self._relay_state = links.RelayState(attached=False)
        self._workers, self._layout = 0, 0  # of relayd, as its last Welcome said
        self._doors = Doors() if legacy is None else Doors.adopt(legacy.doors)
        self._doors.open(settings, runtime_directory)
        self._loop = EventLoop()
        self._rotation = Rotation(
            self._loop, runtime_directory / KEY_FILE_NAME, lambda: self._relay, self._transceivers
        )
        self._reconfiguration = Reconfiguration(
            settings, source, self._loop, self._rotation, self._posts, self._reconfigured
        )
        house = House(
            self._loop,
            self._machine,
            self._lock.owner_pid,
            self._lock.fd,
            keys=lambda: self._rotation.keys,
            current=lambda: self._reconfiguration.settings,
        )
        warn_of_cpus(log, "[transceiver] cpus", settings.transceiver.cpus)
        warn_of_cpus(log, "[transceiver] media_cpus", settings.transceiver.media_cpus)
        self._places = Places(house, self)
        older = [] if legacy is None else [self._places.adopt(left) for left in legacy.places]
        self._places.open()
        self._signalling = SignallingPost(
            house,
            self._doors,
            on_started=self._signalling_started,
            on_ended=lambda: self._reconfiguration.gone("signalling"),
            on_message=self._signalling_says,
        )
        self._takeover = Takeover(house, self._signalling, self._settled, self._offer_new)
        self._drain = Drain(house, self._places, self._signalling, self._loop.stop)
        self._terminations = 0
        self._relay = RelayAttachment(
            self._loop,
            runtime_directory,
            self._welcomed,
            self._attached,
            self._detached,
            self._worker_replaced,
            self._not_attached,
        )
        self._upgrade_seconds: float | None = None
        self._upgrades = 0
        self._succession = Succession(self._loop, "transceiverd", self._leave, self._is_quiet, self._drain.has_begun)
        if inherited is not None and legacy is not None:
            self._adopt(inherited, legacy, older)
        self._orders = OrderDesk(self._loop, runtime_directory, "transceiverd", self._order_handlers())

    def _order_handlers(self) -> dict[str, Handler]:
        return {
            "reload": self._take_changes,
            "keys-rotate": self._rotation.rotate,
            "keys-show": self._rotation.show,
            "drain": self._drain.order,
            "upgrade": self._upgrade,
            "releases": self._releases,
        }

    @property
    def _settings(self) -> Settings:
        """As the last reload left them."""
        return self._reconfiguration.settings

    def _reconfigured(self) -> None:
        for place in self._places:
            place.new_watches()
        self._signalling.new_watch()

    def _transceivers(self) -> dict[int, Post[links.Message]]:
        return self._places.posts()

    def _posts(self) -> list[Post[links.Message]]:
        """Those of this release; an older one's leave, and need not know of new settings."""
        posts = [*self._places.posts().values(), self._signalling]
        return [post for post in posts if post.process is None or post.process.release == RELEASE]

    def run(self) -> None:
        """Serve until told to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.on_signal(number, self._terminate)
        self._loop.on_signal(signal.SIGHUP, lambda: self._take_changes({}, lambda _report: None))
        unblock_signals()
        gc.collect()
        gc.freeze()  # a collection here or in a child would else touch, and so copy, every page they share
        for place in self._places:
            if place.post.process is None:
                place.post.start()
        self._signalling.start()
        if not self._relay.attached:
            self._relay.start()
        self._takeover.begin()
        self._places.watch()
        self._signalling.look()
        notify("READY=1")
        Watchdog(self._loop, self._signs).start()
        self._loop.run()
        self._stop()

    # ------------------------------------------------------------------ processes

    def transceiver_started(self, place: Place) -> None:
        """Join the new process to signalling, and tell both how things stand."""
        self._relay.tell(attach.Incarnation(place.index, place.holding.incarnation))
        self._join(place)
        if self._relay.attached and place.offered:
            place.post.send(links.RelayAttached())

    def transceiver_ended(self, place: Place) -> None:
        """Nobody must wait for it."""
        self._signalling.send(links.TransceiverGone(place.index))
        self._rotation.gone(place.index)
        self._reconfiguration.gone(place.post.name)

    def transceiver_left(self, place: Place) -> None:
        """Its number is free."""
        self._relay.tell(attach.Withdraw(place.index))
        self._places.give_up(place)
        self._drain.look_if_over()

    def transceiver_says(self, place: Place, message: links.AnyMessage) -> None:
        """See Neighbourhood."""
        match message:
            case links.NeedSignalling() if self._signalling.process is not None:
                # It has no link though both live: it broke, or could not be made when it was time.
                log.warning("transceiver %d has no link to signalling; joining them again", place.index)
                self._join(place)
            case links.KeyUse() as use:
                self._rotation.hear(place.index, use)
            case links.SettingsTaken(version):
                self._reconfiguration.taken(place.post.name, version)

    def _join(self, place: Place) -> None:
        """A link between this transceiver and signalling, when both run."""
        if place.post.process is None or self._signalling.process is None:
            return
        try:
            ours, theirs = socket_pair()
        except OSError as error:  # without the link it would get no calls, so it asks again (desk.py)
            log.error("transceiver %d cannot be joined to signalling: %s; trying on", place.index, error.strerror)
            return
        with ours, theirs:
            counters = [place.holding.control_counters.fd, place.holding.media_counters.fd]
            place.post.send(links.UseSignalling(), [ours.fileno()])
            message = links.UseTransceiver(place.index, self._settings.transceiver.slots)
            self._signalling.send(message, [theirs.fileno(), *counters])

    def _signalling_started(self) -> None:
        for place in self._places:
            self._join(place)
        self._signalling.send(self._relay_state)
        self._drain.tell_signalling()

    def _signs(self) -> list[Sign]:
        """Every loop there is, for the service manager."""
        signs = [Sign(self._signalling, "", self._signalling.beats)]
        for place in self._places:
            signs.append(Sign(place.post, "control", place.holding.control_counters.segment.heartbeat))
            signs.append(Sign(place.post, "media", place.holding.media_counters.segment.heartbeat))
        return signs

    def _signalling_says(self, message: links.AnyMessage) -> None:
        match message:
            case links.SettingsTaken(version):
                self._reconfiguration.taken("signalling", version)
            case links.Serving():
                self._takeover.serving()

    # ------------------------------------------------------------------ new code in this process

    def _take_changes(self, arguments: Mapping[str, str], reply: Reply) -> None:
        """SIGHUP and the order `reload`: take what was changed, be it code or configuration."""
        if installed_release() != RELEASE:
            self._succession.order(arguments, reply)
        else:
            self._reconfiguration.reload(reply)

    def _upgrade(self, arguments: Mapping[str, str], reply: Reply) -> None:
        """The order `upgrade`, with `deadline` in seconds."""
        seconds = read_deadline(arguments, self._settings.transceiver.upgrade_seconds)
        if seconds is None:
            reply(BAD_DEADLINE)
            return
        self._upgrade_seconds = seconds
        self._succession.order(arguments, reply)

    def _is_quiet(self) -> bool:
        """Whether nothing is under way that only this process's memory knows of."""
        parts = (self._relay, self._rotation, self._reconfiguration, self._takeover)
        calm = self._loop.running and not self._drain.has_begun() and all(part.quiet for part in parts)
        return calm and all(post.quiet for post in [*self._transceivers().values(), self._signalling])

    def _leave(self) -> Left:
        state = self._relay_state
        given = self._upgrade_seconds
        legacy = Legacy(
            lock=self._lock.fd,
            upgrades=self._upgrades + 1,
            deadline_seconds=self._settings.transceiver.upgrade_seconds if given is None else given,
            places=[place.left() for place in self._places],
            doors=self._doors.left(),
            signalling=self._signalling.left(),
            relay=LeftRelay(self._relay.fileno(), self._workers, state.port, state.bind4, state.bind6, self._layout)
            if self._relay.attached
            else None,
        )
        segments = [segment for place in self._places for segment in place.holding.segments()]
        return Left(legacy, legacy.descriptors(), {segment.major for segment in segments})

    def _adopt(self, inherited: Inherited, legacy: Legacy, older: Sequence[Place]) -> None:
        """Processes and conversations go on; those that served until now leave when others do."""
        self._upgrades = legacy.upgrades
        if legacy.relay is not None:
            left = legacy.relay
            self._workers, self._layout = left.workers, left.layout
            self._relay_state = links.RelayState(True, left.port, left.bind4, left.bind6)
            self._relay.adopt(socket.socket(fileno=left.socket))
        for place in older:
            place.offered = self._relay.attached
        self._takeover.plan(older, legacy)
        inherited.claim(legacy.descriptors())
        unclaimed = inherited.close_rest()
        log.info("release %s goes on with what %s left%s", RELEASE, inherited.release,
                 f"; {unclaimed} descriptors of it are unknown here" if unclaimed else "")  # fmt: skip

    def _offer_new(self) -> None:
        """To relayd, the lanes of transceivers that have none there yet."""
        if self._relay.attached:
            for place in self._places:
                if not place.offered:
                    for offer in self._lanes_of(place, self._workers):
                        self._relay.tell(*offer)
            self._relay.tell(attach.Ready(len(self._places.serving)))

    def _settled(self, older: Sequence[Place]) -> bool:
        """Whether relayd has taken them and they take calls."""
        if not self._relay.quiet:
            return False
        for place in self._places:
            if self._relay.attached and not place.offered:
                place.offered = True
                place.post.send(links.RelayAttached())
        return not self._relay.attached or all(place.taking for place in self._places if place not in older)

    def _releases(self, _arguments: Mapping[str, str], reply: Reply) -> None:
        """The order `releases`: which process runs which code, and how far an upgrade is."""
        rows = [place.describe() for place in self._places]
        if self._signalling.process is not None:
            process = self._signalling.process
            rows.append({"name": "signalling", "pid": process.pid, "release": process.release, "state": "serving"})
        rows.insert(0, {"name": "supervisor", "pid": self._lock.owner_pid, "release": RELEASE, "state": "serving"})
        details = {"upgrades": self._upgrades, "upgrading": not self._takeover.quiet, "processes": rows}
        older = sorted({str(row["release"]) for row in rows} - {RELEASE})
        reply(Report(True, f"release {RELEASE}" + (f", calls end in {', '.join(older)}" if older else ""), details))

    # ------------------------------------------------------------------ the relay

    def _welcomed(self, welcome: attach.Welcome) -> list[Offer]:
        """relayd speaks: make the lanes that are missing, give them to the transceivers, offer everything."""
        if welcome.machine != self._machine:
            log.error("relayd is machine %d, we are %d: set [ringline] machine alike", welcome.machine, self._machine)
        self._workers, self._layout = welcome.workers, welcome.layout
        self._relay_state = links.RelayState(True, welcome.port, welcome.bind4, welcome.bind6)
        offers: list[Offer] = []
        for place in self._places:
            offers += self._lanes_of(place, welcome.workers)
        keys = self._rotation.keys
        offers.append((attach.ConfirmKey(keys.current, keys.fingerprint(keys.current)), ()))
        offers.append((attach.Ready(len(self._places.serving)), ()))
        return offers

    def _lanes_of(self, place: Place, workers: int) -> list[Offer]:
        holding = place.holding
        for worker in holding.drop_lanes(workers):
            place.post.send(links.DropLane(worker))
        for worker in holding.add_lanes(workers, self._settings.transceiver, self._layout):
            place.post.send(links.UseLane(worker), holding.lanes[worker].fds)
        return self._offers_of(holding)

    @staticmethod
    def _offers_of(holding: Holding) -> list[Offer]:
        index, incarnation = holding.index, holding.incarnation
        lanes: list[Offer] = [
            (attach.OfferLane(index, worker, incarnation), lane.fds) for lane, worker in holding.lanes_of()
        ]
        counters: list[Offer] = [
            (attach.OfferCounters(f"transceiver {index} control", index), [holding.control_counters.fd]),
            (attach.OfferCounters(f"transceiver {index} media", index), [holding.media_counters.fd]),
        ]
        return lanes + counters

    def _attached(self) -> None:
        for place in self._places:
            place.offered = True
            place.post.send(links.RelayAttached())
        self._signalling.send(self._relay_state)

    def _detached(self) -> None:
        self._relay_state = links.RelayState(attached=False)
        for place in self._places:
            place.offered = False
            place.post.send(links.RelayDetached())
        self._signalling.send(self._relay_state)

    def _not_attached(self, why: str) -> None:
        """For who asks /readyz."""
        self._relay_state = links.RelayState(attached=False, problem=why)
        self._signalling.send(self._relay_state)

    def _worker_replaced(self, worker: int) -> None:
        """It goes on with the same rings; a doorbell that its predecessor swallowed is made good by its own start."""
        log.info("relay worker %d was replaced", worker)

    # ------------------------------------------------------------------ the end

    def _terminate(self) -> None:
        """SIGTERM or SIGINT; the second one ends at once."""
        self._terminations += 1
        if self._terminations == 1:
            self._drain.begin(self._settings.transceiver.drain_seconds)
        else:
            self._drain.hurry()

    def _stop(self) -> None:
        """No transceiver runs any more."""
        notify("STOPPING=1")
        self._orders.close()
        self._signalling.retire(links.Stop("stop"))
        end_all(self._loop, [self._signalling], SIGNALLING_PATIENCE_NS)
        self._relay.close()
        self._doors.close()
        self._loop.close()
        self._lock.release()
        log.info("stopped")
