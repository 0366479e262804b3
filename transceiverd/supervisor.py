"""transceiverd's supervisor: holds the session segments, makes the lanes, keeps the processes running (DESIGN 2.7).

Made by main.py. It touches no packet and no call: it forks the transceivers (transceivers.py) and the signalling
process (signalling_post.py), hands each what it needs, joins them to each other and to relayd (relay.py), and replaces
what dies or stands still. It ends by a drain (drain.py), or goes on as newer code (renewal.py).
"""

import gc
import logging
import signal
from collections.abc import Mapping
from pathlib import Path

from shm import attach
from shm.daemon.handover import Inherited, unblock_signals
from shm.daemon.lock import RuntimeLock, prepare_runtime_directory
from shm.daemon.loop import EventLoop
from shm.daemon.notify import notify
from shm.daemon.orders import Handler, OrderDesk, Reply, Report
from shm.daemon.post import Post, end_all
from shm.daemon.process import raise_descriptor_limit, warn_of_cpus
from shm.daemon.release import RELEASE, installed_release
from shm.daemon.reload import Source
from shm.daemon.watchdog import Sign, Watchdog
from transceiverd import links
from transceiverd.drain import Drain
from transceiverd.legacy import Legacy
from transceiverd.link import socket_pair
from transceiverd.listening import Doors
from transceiverd.reconfiguration import Reconfiguration
from transceiverd.relay import Relay
from transceiverd.renewal import Estate, Renewal
from transceiverd.rotation import Rotation
from transceiverd.settings import Settings
from transceiverd.signalling.server import SHUTDOWN_SECONDS
from transceiverd.signalling_post import SignallingPost
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
        self._doors = Doors() if legacy is None else Doors.adopt(legacy.doors)
        self._doors.open(settings, runtime_directory)
        self._loop = EventLoop()
        self._rotation = Rotation(
            self._loop, runtime_directory / KEY_FILE_NAME, lambda: self._relay.attachment, self._transceivers
        )
        self._reconfiguration = Reconfiguration(
            settings, source, self._loop, self._rotation, self._posts, self._reconfigured
        )
        house = House(
            self._loop,
            settings.ringline.machine,
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
        self._relay = Relay(house, runtime_directory, self._places, self._signalling)
        self._drain = Drain(house, self._places, self._signalling, self._loop.stop)
        self._terminations = 0
        estate = Estate(
            self._lock, self._places, self._doors, self._signalling, self._relay, self._rotation, self._reconfiguration,
            self._drain,
        )  # fmt: skip
        self._renewal = Renewal(house, estate)
        if inherited is not None and legacy is not None:
            self._renewal.adopt(inherited, legacy, older)
        self._orders = OrderDesk(self._loop, runtime_directory, "transceiverd", self._order_handlers())

    def _order_handlers(self) -> dict[str, Handler]:
        return {
            "reload": self._take_changes,
            "reload-check": self._look_over_changes,
            "keys-rotate": self._rotation.rotate,
            "keys-show": self._rotation.show,
            "drain": self._drain.order,
            "upgrade": self._renewal.order,
            "releases": self._renewal.releases,
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
            self._relay.attachment.start()
        self._renewal.takeover.begin()
        self._places.watch()
        self._signalling.look()
        notify("READY=1")
        Watchdog(self._loop, self._signs).start()
        self._loop.run()
        self._stop()

    # ------------------------------------------------------------------ processes

    def transceiver_started(self, place: Place) -> None:
        """Join the new process to signalling, and tell both how things stand."""
        self._relay.attachment.tell(attach.Incarnation(place.index, place.holding.incarnation))
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
        self._relay.attachment.tell(attach.Withdraw(place.index))
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
            place.holding.mend()
            counters = [place.holding.control_counters.fd, place.holding.media_counters.fd]
            place.post.send(links.UseSignalling(), [ours.fileno()])
            message = links.UseTransceiver(place.index, self._settings.transceiver.slots)
            self._signalling.send(message, [theirs.fileno(), *counters])

    def _signalling_started(self) -> None:
        for place in self._places:
            self._join(place)
        self._signalling.send(self._relay.state)
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
                self._renewal.takeover.serving()

    def _take_changes(self, arguments: Mapping[str, str], reply: Reply) -> None:
        """SIGHUP and the order `reload`: take what was changed, be it code or configuration."""
        if installed_release() != RELEASE:
            self._renewal.order(arguments, reply)
        else:
            self._reconfiguration.reload(reply)

    def _look_over_changes(self, _arguments: Mapping[str, str], reply: Reply) -> None:
        """What `reload` would say to the configuration; other code is looked over by the rehearsal of its upgrade."""
        other_code = installed_release() != RELEASE
        reply(Report(True, "new code is installed") if other_code else self._reconfiguration.rehearse())

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
        self._relay.attachment.close()
        self._doors.close()
        self._loop.close()
        self._lock.release()
        log.info("stopped")
