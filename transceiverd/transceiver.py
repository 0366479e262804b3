"""One transceiver process: the control thread on uvloop beside the native media thread (DESIGN 1).

Forked by the supervisor with its session segment, counters and doorbells; lanes and the signalling process's socket
come over its link. The control thread sleeps until a relay worker or the media thread rings, or a deadline comes; then
it does a bounded turn, so that no flood of one kind starves another:

    records out of the handshake rings -> three queues (inbox.py) -> at most so many of each a turn -> sessions

Nothing here touches a media packet: while this thread is blocked, or collects garbage, calls go on.
"""

import asyncio
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator

import uvloop

from relayd.ufrag import UfragKeys
from shm.daemon.child import settle
from shm.daemon.logs import set_log_level, suppressed_lines
from shm.daemon.process import name_process, pin_to_cpu, prefer_thread
from shm.lane import Lane
from shm.session import SessionSegment
from transceiverd import links
from transceiverd.birth import MEDIA_THREAD, Birth
from transceiverd.calls import CallTable
from transceiverd.collection import begin_collection
from transceiverd.desk import Desk
from transceiverd.dtls.context import DtlsContext
from transceiverd.engine import MILLISECOND, SECOND
from transceiverd.farewell import Farewells
from transceiverd.goodbye import Goodbyes
from transceiverd.inbox import Inbox
from transceiverd.key_use import calls_by_key
from transceiverd.lanes import ControlLanes, Owner
from transceiverd.link import Link
from transceiverd.media.channel import Channel
from transceiverd.media.engine import MediaEngine
from transceiverd.media.port import InstallRefused, MediaPort, Removed, SrtpProven, ntp_offset_ns
from transceiverd.outcomes import CONTROL_COUNTERS
from transceiverd.settings import Settings, read_settings

log = logging.getLogger("transceiver")

READ_BUDGET = 128  # records of each worker's ring in a turn; how many are worked on is the inbox's
CATCH_UP_SECONDS = 0.005  # until a full ring is tried again
CATCH_UP_BUDGET = 64  # calls published again to a worker whose ring was full
# The heartbeat, and the time-out behind the doorbell: a record found then is a lost wake-up, counted (FACTS 3).
HEARTBEAT_NS = 50 * MILLISECOND
LOAD_BEATS = 4  # heartbeats for each report of the load to signalling
STOP_POLL_NS = 5 * MILLISECOND


def run_transceiver(birth: Birth, control: socket.socket) -> None:
    """Be the transceiver until told to stop. Called in the forked child."""
    keep = {control.fileno(), birth.lock_fd, *birth.holding.descriptors()}
    settle(f"transceiver {birth.transceiver}", f"transceiver{birth.transceiver}", keep, birth.supervisor, birth.cpu)
    uvloop.run(_main(birth, control))


async def _main(birth: Birth, control: socket.socket) -> None:
    transceiver = Transceiver(birth, control)
    begin_collection()
    await transceiver.run()


class Transceiver:
    """The process's parts and its loop."""

    def __init__(self, birth: Birth, control: socket.socket) -> None:
        self.loop = asyncio.get_running_loop()
        self.birth = birth
        self.keys = birth.keys
        holding = birth.holding
        self.counters = holding.control_counters
        self.lanes = ControlLanes(self._flows_of)
        self.sessions = SessionSegment.attach(holding.sessions.fd, machine=birth.machine)
        self.farewells = Farewells(
            self.sessions, self.lanes, birth.settings.dtls, holding.incarnation, time.monotonic_ns(), self.counters
        )
        channel = Channel()
        self.engine = self._make_engine(channel)
        self.media = MediaPort(self.sessions, channel, self.engine)
        self.dtls_context = DtlsContext()
        self.calls = CallTable(
            self.sessions,
            self.lanes,
            self.media,
            self.dtls_context,
            lambda: self.keys,
            birth.machine,
            birth.transceiver,
            birth.settings.ice,
            birth.settings.dtls,
            birth.settings.data_channel,
            on_ended=self._call_ended,
            half_open_max=birth.settings.transceiver.half_open_max,
        )
        self.desk = Desk(self)
        self.supervisor = Link(control, self._from_supervisor, self._orphaned)
        self.attached = False
        self.leaving = False  # no new calls; ends with the last one
        self.goodbyes = Goodbyes(self.calls)
        dtls = birth.settings.dtls
        self.inbox = Inbox(
            self.calls.established_at, dtls.handshakes_per_turn, dtls.handshakes_per_call, dtls.records_per_call
        )
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: int | None = None
        self._doorbell_fd = holding.control_fd
        self._done = asyncio.Event()
        self._turn_asked = False
        self._asleep = False
        self._catch_up: asyncio.TimerHandle | None = None
        self._beats = 0
        self._names = frozenset(CONTROL_COUNTERS)
        self._take_over()

    @property
    def fingerprint(self) -> str:
        """Of our certificate, for the answer: sha-256, pairs of hexadecimal digits."""
        return self.dtls_context.fingerprint().digest.hex(":").upper()

    def _make_engine(self, channel: Channel) -> MediaEngine:
        settings, now = self.birth.settings.media, time.monotonic_ns()
        return MediaEngine(
            self.sessions.segment,
            (),
            self.birth.holding.media_counters,
            channel,
            incarnation=self.birth.holding.incarnation,
            ntp_offset_ns=ntp_offset_ns(time.time_ns(), now),
            seed=secrets.randbits(63),
            batch=settings.batch,
            early_calls=settings.early_calls,
            early_time_ns=settings.early_time_ms * MILLISECOND,
            report_interval_ns=settings.report_interval_ms * MILLISECOND,
            coalesce_ns=settings.coalesce_us * 1_000,
            follow_worker=settings.follow_worker and self.birth.media_cpu is None and self.birth.cpu is None,
        )

    async def run(self) -> None:
        """Serve until stopped."""
        thread = threading.Thread(target=self._run_media, name="media", daemon=True)
        thread.start()
        self.loop.add_reader(self._doorbell_fd, self._rung)
        self.loop.add_reader(self.media.event_fd, self._media_rung)
        for lane, worker in self.birth.holding.lanes_of():
            self._use_lane(lane, worker)
        self._beat()
        self._turn()
        await self._done.wait()
        self.engine.stop()
        thread.join(timeout=1)

    def _run_media(self) -> None:
        """The media thread: before control and signalling, so that dialling delays no packet; on its CPU, if any."""
        name_process(MEDIA_THREAD)
        nice, cpu = self.birth.settings.media.nice, self.birth.media_cpu
        if nice and (refused := prefer_thread(nice)) is not None:
            log.info("media is not at nice value %d: %s", nice, refused)
        if cpu is not None and (unpinned := pin_to_cpu(cpu)) is not None:
            log.warning("media thread not pinned to CPU %d: %s", cpu, unpinned)
        self.engine.run()

    # ------------------------------------------------------------------ waking

    def _was_rung(self) -> bool:
        """Whether the doorbell has rung, and silence it."""
        try:
            return os.eventfd_read(self._doorbell_fd) > 0
        except BlockingIOError:
            return False

    def _rung(self) -> None:
        """A worker rang: it saw us asleep and left something in a ring."""
        self._was_rung()
        self.lanes.disarm()
        self._asleep = False
        self._turn()

    def _media_rung(self) -> None:
        now = time.monotonic_ns()
        for event in self.media.poll_events():
            match event:
                case SrtpProven(slot, generation, key):
                    self.calls.srtp_proven(slot, generation, key, now)
                case Removed(slot, generation, bye, key):
                    self.calls.media_removed(slot, generation, bye, key)
                case InstallRefused(slot, generation):
                    self.calls.media_refused(slot, generation, now)
                case _:
                    pass  # installed, rebuilt; and BYE, which ends nothing (FACTS 1)
        self._finish(now)

    def _ask_turn(self) -> None:
        """Come back after other things had their chance."""
        if not self._turn_asked:
            self._turn_asked = True
            self.loop.call_soon(self._turn)

    def _turn(self) -> None:
        """One bounded round; sleeps only when nothing is left to do."""
        self._turn_asked = False
        now = time.monotonic_ns()
        self._read(now)
        self._work(now)
        self.calls.expire(now)
        behind = self.lanes.catch_up(CATCH_UP_BUDGET) | self.farewells.work(now) | self.goodbyes.work(now)
        self._finish(now)
        if self.inbox:
            self._ask_turn()
            return
        self.lanes.arm()  # with a full fence inside: what came before it is seen below, what comes after it rings
        self._asleep = not self.lanes.pending()
        if not self._asleep:
            self.lanes.disarm()
            self._ask_turn()
        elif behind and self._catch_up is None:
            self._catch_up = self.loop.call_later(CATCH_UP_SECONDS, self._turn_to_catch_up)

    def finish(self) -> None:
        """After work from outside a turn."""
        self._finish(time.monotonic_ns())

    def _turn_to_catch_up(self) -> None:
        self._catch_up = None
        self._ask_turn()

    def _finish(self, now: int) -> None:
        """The end of any piece of work: everything written becomes visible, the timer is right."""
        self.lanes.flush()
        self._rearm(now)

    def _rearm(self, now: int) -> None:
        deadline = self.calls.deadlines.next()
        if self._timer is not None and deadline == self._timer_at:
            return  # it stands: most turns move no deadline earlier
        self._timer_at = deadline
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            delay = max(0, deadline - now) / SECOND
            self._timer = self.loop.call_later(delay, self._timer_due)

    def _timer_due(self) -> None:
        self._timer = None
        self._turn()

    # ------------------------------------------------------------------ work

    def _read(self, now: int) -> None:
        if self.inbox.full:
            return
        queued = 0
        for record in self.lanes.read(READ_BUDGET, now):
            if self.inbox.put(record):
                queued += 1
            else:
                self._book("dtls-over-budget", 1)
        if queued:
            self._book("records-queued", queued)

    def _work(self, now: int) -> None:
        handled = 0
        for record in self.inbox.turn():
            self.calls.receive(record, now)
            handled += 1
        if handled:
            self._book("records-handled", handled)

    def _take_over(self) -> None:
        """What a predecessor had queued and not handled, its killer among it, is handled by nobody (DESIGN 2.6): its
        calls are over. Booked, from above: up to a turn's records more."""
        seen = self.counters.read()
        self._book("records-lost", max(0, seen["records-queued"] - seen["records-handled"] - seen["records-lost"]))

    def _beat(self) -> None:
        """Say that we live: to the supervisor through the counters' segment, to signalling by message."""
        now = time.monotonic_ns()
        self.counters.segment.beat(now)
        self.lanes.flush(all_of_it=True)
        self._beats += 1
        if self._beats % LOAD_BEATS == 0:
            self._export()
            self.desk.tell_load()
        if self._asleep and self.lanes.pending():
            self._book("lost-wakeups", 0 if self._was_rung() else 1)
            self._rung()
        self.loop.call_later(HEARTBEAT_NS / SECOND, self._beat)

    def _book(self, name: str, n: int) -> None:
        self.counters.add(name, n)

    def _export(self) -> None:
        """Bring the shared counters up to the process's own."""
        self.counters.set("calls", len(self.calls))
        self.counters.set("dtls-put-off", self.inbox.handshakes_put_off)
        self.counters.set("log-lines-suppressed", suppressed_lines())
        self.counters.set("calls-half-open", self.calls.half_open)
        self.counters.set("calls-created", self.calls.created)
        self.counters.set("calls-established", self.calls.established)
        self.counters.set("records", self.lanes.records)
        self.counters.set("checks-answered-in-lane", self.lanes.answered)
        self.counters.set("control-ring-full", self.lanes.full())
        unnamed = 0
        for name, count in self.calls.all_drops():
            if name in self._names:
                self.counters.set(name, count)
            else:
                unnamed += count
        self.counters.set("dropped-other", unnamed)

    # ------------------------------------------------------------------ the supervisor

    def _from_supervisor(self, message: links.AnyMessage, descriptors: list[int]) -> None:
        match message:
            case links.UseLane(worker):
                lane = Lane.attach(descriptors)
                self._use_lane(lane, worker)
            case links.DropLane(worker):
                self.lanes.drop(worker)
            case links.RelayAttached():
                self.attached = True
                self.lanes.mark_all_behind(self.calls.slots())
                self.desk.tell_load()
                self.supervisor.send(links.Taking())
                self._ask_turn()
            case links.RelayDetached():
                self.attached = False
            case links.UseKeys(keys):
                self.keys = UfragKeys.decode(keys)
            case links.AskKeyUse(request):
                self.supervisor.send(links.KeyUse(request, calls_by_key(self.calls)))
            case links.UseSettings(version):
                self._configure(read_settings(descriptors[0]))
                self.supervisor.send(links.SettingsTaken(version))
            case links.UseSignalling():
                self.desk.use(socket.socket(fileno=descriptors[0]))
            case links.Leave():
                self._leave()
            case links.Stop(reason, calls_per_second):
                self._leave()
                self.goodbyes.begin(reason, calls_per_second, time.monotonic_ns())
                self._ask_turn()

    def _configure(self, settings: Settings) -> None:
        """A reload: for calls from now on. What needs a restart stands in the birth's settings."""
        set_log_level(settings.ringline.log_level)
        self.calls.configure(settings.ice, settings.dtls, settings.data_channel)
        self.calls.half_open_max = settings.transceiver.half_open_max

    def _use_lane(self, lane: Lane, worker: int) -> None:
        self.lanes.use(lane, worker)
        self.media.add_lane(lane)
        self._ask_turn()

    def _orphaned(self) -> None:
        """The supervisor is gone; PDEATHSIG is about to say the same."""
        self._done.set()

    def _leave(self) -> None:
        """No new calls; the process ends when media has let go of the last one."""
        if not self.leaving:
            self.leaving = True
            self.desk.tell_load()
            self._await_empty()

    def _await_empty(self) -> None:
        if len(self.calls) == 0 and not self.farewells.left:
            self._done.set()
        else:
            self.loop.call_later(STOP_POLL_NS / SECOND, self._await_empty)

    def _call_ended(self, snapshot: dict[str, object]) -> None:
        self.desk.tell_ended(snapshot)

    def _flows_of(self, slot: int) -> Iterator[tuple[Owner, bytes, int]]:
        return self.calls.flows_of(slot)
