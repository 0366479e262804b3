"""The signalling process: HTTP for callers and operators, on one event loop, without any call's state.

Forked by the supervisor, which tells it of transceivers and the relay over its link. It may die at any time: calls go
on, and its successor knows as much as it did: it asks the transceivers.
"""

import asyncio
import logging
import socket
import sys
from dataclasses import dataclass

import uvloop

from shm.counters import Counters
from shm.daemon.child import settle
from shm.daemon.logs import set_log_level
from shm.errors import LayoutRefused
from transceiverd import links
from transceiverd.collection import begin_collection
from transceiverd.link import Link
from transceiverd.listeners import Listeners
from transceiverd.listening import Doors
from transceiverd.router import LinkRouter
from transceiverd.sdp.negotiate import NegotiationConfig
from transceiverd.settings import Settings, read_settings

log = logging.getLogger("signalling")

EXIT_CANNOT_LISTEN = 69  # sysexits(3): a service is unavailable
PEERS_PATIENCE_SECONDS = 2.0  # for the first report of a transceiver
BEAT_SECONDS = 0.2  # several within the shortest stuck_after_ms
THREADS = ("control", "media")  # whose counters come with a transceiver, in this order


@dataclass(frozen=True)
class SignallingBirth:
    """What the signalling process is born with."""

    supervisor: int
    machine: int
    settings: Settings
    doors: Doors
    lock_fd: int
    beside: bool
    """Whether one of an older release serves until this one does."""


def run_signalling(birth: SignallingBirth, control: socket.socket) -> None:
    """Be the signalling process until told to stop. Called in the forked child."""
    settle("signalling", "signalling", {control.fileno(), birth.lock_fd, *birth.doors.fds()}, birth.supervisor)
    uvloop.run(Signalling(birth).run(control))


class Signalling:
    """The process's parts."""

    def __init__(self, birth: SignallingBirth) -> None:
        settings = birth.settings
        self._beside = birth.beside
        self._router = LinkRouter(birth.machine, settings.transceiver.advertise, settings.signalling)
        self._listeners = Listeners(
            settings.signalling,
            settings.operator,
            self._router,
            _negotiation(settings),
            birth.doors,
        )
        self._done: asyncio.Event | None = None

    async def run(self, control: socket.socket) -> None:
        """Serve until stopped. What cannot be served ends this process only: calls need no HTTP. A successor tries."""
        self._done = asyncio.Event()
        supervisor = Link(control, lambda message, fds: self._obey(supervisor, message, fds), self._done.set)
        self._beat(supervisor)
        try:
            if self._beside:  # the one before us serves on until we can do as well
                await self._router.await_peers(PEERS_PATIENCE_SECONDS)
            await self._listeners.start()
        except OSError as error:
            log.error("cannot listen: %s", error)
            sys.exit(EXIT_CANNOT_LISTEN)
        supervisor.send(links.Serving())
        begin_collection()
        await self._done.wait()
        await self._listeners.stop()

    def _configure(self, settings: Settings) -> None:
        """A reload, for requests and connections from now on. Calls and open connections stay as they are."""
        set_log_level(settings.ringline.log_level)
        self._router.configure(settings.transceiver.advertise, settings.signalling)
        self._listeners.configure(settings.signalling, settings.operator, _negotiation(settings))

    def _beat(self, supervisor: Link) -> None:
        """The sign that this loop turns."""
        supervisor.send(links.Alive())
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat, supervisor)

    def _obey(self, supervisor: Link, message: links.AnyMessage, descriptors: list[int]) -> None:
        match message:
            case links.UseSettings(version):
                self._configure(read_settings(descriptors[0]))
                supervisor.send(links.SettingsTaken(version))
            case links.UseTransceiver(transceiver):
                end, *counters = descriptors
                attached = _attached(transceiver, counters)
                self._router.use(transceiver, socket.socket(fileno=end), attached)
            case links.TransceiverGone(transceiver):
                self._router.gone(transceiver)
            case links.RelayState():
                self._router.relay(message)
            case links.Draining(retry_after):
                self._router.drain(retry_after)
            case links.Stop():
                assert self._done is not None
                self._done.set()


def _attached(transceiver: int, descriptors: list[int]) -> dict[str, Counters]:
    """By thread. The supervisor puts a header right that its writer spoilt; one that is spoilt again already costs what
    it would show, and nothing else."""
    try:
        return {thread: Counters.attach(fd) for thread, fd in zip(THREADS, descriptors, strict=True)}
    except (ValueError, LayoutRefused) as error:
        log.error("the counters of transceiver %d cannot be read: %s", transceiver, error)
        return {}


def _negotiation(settings: Settings) -> NegotiationConfig:
    return NegotiationConfig(data_channels=True, max_message_size=settings.data_channel.max_message_bytes)
