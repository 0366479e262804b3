"""Any interleaving of what the session machine does with data channels in the call, whose packets are lost, doubled,
reordered, repeated and changed inside DTLS, and with deaths of the server's process: every message once and in order,
none invented; what an association holds is bounded; nothing that SCTP carries ends a call or disturbs its books.
"""

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from fuzz.data_world import CONFIG, HOLD, LOSE, PASS, TWICE, WORLDS, DataCaller, DataWorld, mortal
from fuzz.machine import machine_test, run_machine
from fuzz.session_world import ROLES, World
from fuzz.strategies.mutation import _edited
from fuzz.test_session_machine import EDIT, PICK, SLOTS, Caller, SessionMachine
from tests.data_client import data_negotiation
from transceiverd.calls import Call, Created
from transceiverd.engine import MILLISECOND, SECOND
from transceiverd.sctp.states import State as Sctp
from transceiverd.session import State

FATES = st.lists(st.sampled_from([PASS, PASS, LOSE, TWICE, HOLD]), max_size=8)
SELDOM = st.sampled_from([False] * 7 + [True])
VIOLATION = "protocol violation"  # why an association ends that finds its peer lying
# One packet. The server has no room for the second message before the first is acknowledged, and takes no third before.
LAST_SIZES = (500, 450, 60)
# To die while these are answered, and while a channel is closed: before and after the blob is written, before and after
# what follows leaves. 0 lives.
LAST_CHANCES = (3, 1, 4, 2, 0)
PATIENCE = 120 * SECOND  # a heartbeat, and RTOs of 4 s, several times over
HELD_MAX = CONFIG.receive_buffer_bytes + CONFIG.send_buffer_bytes + CONFIG.interleaved_buffer_bytes


class DataMachine(SessionMachine):
    """Callers with channels."""

    def make_world(self) -> World:
        world = DataWorld(SLOTS, self.revived)
        WORLDS[:] = [world]
        return world

    def make_call(self, setup: str) -> tuple[Created, Call]:
        return self.world.create(setup, data_negotiation(max_message_size=4_096))

    def make_client(self, created: Created, setup: str, path: bytes) -> DataCaller:
        client = DataCaller(created, ROLES[setup], seed=self.made, now=self.world.now, path=path)
        client.open(ordered=True)
        return client

    def revived(self, call: Call) -> None:
        """The same call in another process."""
        for caller in self.callers:
            if caller.created.call_id == call.call_id:
                caller.call = call

    def client(self, which: int) -> DataCaller:
        """Of a caller."""
        client = self.callers[which % len(self.callers)].client
        assert isinstance(client, DataCaller)
        return client

    # ------------------------------------------------------------------ calls end seldom: more is seen in one

    @precondition(lambda self: self.callers)
    @rule(which=PICK, sure=SELDOM)
    def hang_up(self, which: int, sure: bool) -> None:
        """From above."""
        if sure:
            super().hang_up(which)

    @precondition(lambda self: self.callers)
    @rule(which=PICK, sure=SELDOM)
    def caller_closes(self, which: int, sure: bool) -> None:
        """close_notify from inside."""
        if sure:
            super().caller_closes(which)

    @rule(milliseconds=st.sampled_from([0, 1, 20, 100, 250, 500, 1_000, 3_000, 4_000, 16_000, 31_000]))
    def time_passes(self, milliseconds: int) -> None:
        """Most often a time that SCTP has a timer for."""
        super().time_passes(milliseconds)

    # ------------------------------------------------------------------ channels

    @precondition(lambda self: self.callers)
    @rule(which=PICK, rounds=st.sampled_from([1, 2, 5, 15, 40]), lost=st.sets(st.integers(0, 30), max_size=4))
    def conversation(self, which: int, rounds: int, lost: set[int]) -> None:
        """Whoever talks writes too: one message at least is on its way in whatever happens next."""
        self.client(which).say(rounds, rounds * 97 % 1_500)
        super().conversation(which, rounds, lost)

    @precondition(lambda self: self.callers)
    @rule(which=PICK, ordered=st.booleans())
    def opens(self, which: int, ordered: bool) -> None:
        """One more channel, while there is not much to do."""
        client = self.client(which)
        if len(client.sent) < 4 and client.association.state is not Sctp.DONE:
            client.open(ordered)

    @precondition(lambda self: self.callers)
    @rule(which=PICK, channel=PICK, sizes=st.lists(st.sampled_from([0, 1, 60, 700, 1_500]), min_size=1, max_size=3),
          rounds=st.sampled_from([0, 1, 4, 12, 12]))  # fmt: skip
    def says(self, which: int, channel: int, sizes: list[int], rounds: int) -> None:
        """Messages, and perhaps the time to answer them."""
        for number, size in enumerate(sizes):
            self.client(which).say(channel + number, size)
        self.conversation(which, rounds, set())

    @precondition(lambda self: self.callers)
    @rule(
        which=PICK, channel=PICK, rounds=st.sampled_from([1, 2, 3, 12]), chances=st.integers(0, 4), again=st.booleans()
    )
    def closes(self, which: int, channel: int, rounds: int, chances: int, again: bool) -> None:
        """A channel, and the process perhaps with it; its id may come again at once."""
        world = self.world
        assert isinstance(world, DataWorld)
        self.client(which).close(channel)
        world.die_in = chances
        super().conversation(which, rounds, set())
        if again:
            self.opens(which, ordered=True)
            self.says(which, channel, [60], 1)

    # ------------------------------------------------------------------ inside DTLS

    @precondition(lambda self: self.callers)
    @rule(which=PICK, out=FATES, into=FATES)
    def tampered(self, which: int, out: list[int], into: list[int]) -> None:
        """What becomes of the next packets."""
        self.client(which).out, self.client(which).into = out, into

    @precondition(lambda self: self.callers)
    @rule(which=PICK, seen=PICK, count=st.integers(1, 6))
    def repeated_inside(self, which: int, seen: int, count: int) -> None:
        """Packets of this association once more, under new record numbers."""
        client = self.client(which)
        if client.done is not None and client.seen and not client.closed:
            for number in range(count):
                client.dtls.send(client.seen[(seen + number) % len(client.seen)], client.now)

    @precondition(lambda self: self.callers)
    @rule(which=PICK, seen=PICK, edits=st.lists(EDIT, min_size=1, max_size=3), keep_tag=st.booleans())
    def changed_inside(self, which: int, seen: int, edits: list[tuple[int, int, int]], keep_tag: bool) -> None:
        """A packet that only a hostile peer makes; its checksum may be zero, which means that DTLS has it."""
        client = self.client(which)
        if client.done is None or not client.seen or client.closed:
            return
        packet = client.seen[seen % len(client.seen)]
        data = _edited(packet, edits)
        data = packet[:8] + bytes(4) + data[12:] if keep_tag else data
        if data and len(data) <= 1_150:
            client.tainted = True
            client.dtls.send(data, client.now)
        self.conversation(which, 2, set())

    # ------------------------------------------------------------------ the process

    @rule(chances=st.integers(1, 12))
    def dies_soon(self, chances: int) -> None:
        """Somewhere in the next turns."""
        world = self.world
        assert isinstance(world, DataWorld)
        world.die_in = chances

    @rule()
    def dies_now(self) -> None:
        """In a quiet moment."""
        world = self.world
        assert isinstance(world, DataWorld)
        world.revive()
        self.hand_down()

    # ------------------------------------------------------------------ always

    @invariant()
    def books_are_right(self) -> None:
        super().books_are_right()
        for caller in self.callers:
            assert isinstance(caller.client, DataCaller)
            data = caller.call.session.data
            if not caller.client.tainted:
                caller.client.check_messages()
                assert VIOLATION not in caller.client.reasons, "the server said what no association may say"
                assert data is None or data.channels.closed != VIOLATION, "the server accuses an honest caller"
            assert data is None or data.channels.association.held() + data.channels.held_bytes() <= HELD_MAX

    def reaches(self, caller: Caller) -> bool:
        """Whether its own call, and no other, hears and answers it."""
        flow, session, path = self.world.table.lookup(caller.client.path), caller.call.session, caller.client.path
        return (
            session.state is State.CONNECTED
            and flow is not None
            and flow.contender is None
            and flow.owner.origin == caller.call.owner.origin
            and session.agent.send_target(self.world.now) == path
        )

    def wait_for_the_rest(self, caller: Caller, client: DataCaller) -> None:
        """From one deadline to the next, on a link that loses nothing, until everything came back."""
        world, end = self.world, self.world.now + PATIENCE
        client.talking = False
        while (
            (client.under_way() or client.closing())
            and not caller.call.closing
            and client.association.state is not Sctp.DONE
        ):
            deadlines = [timeout.deadline for timeout in (client.next_timeout(),) if timeout is not None]
            deadlines += [at for at in (world.calls.deadlines.next(),) if at is not None]
            now = max(min(deadlines, default=end), world.now + MILLISECOND)
            if now > end:
                break
            world.handle_timeout(now)
            client.handle_timeout(now)
            while (datagram := client.poll_datagram()) is not None:
                world.genuine(datagram.data, datagram.destination)
            self.hand_down()

    def comes_back(self, caller: Caller, client: DataCaller) -> None:
        """Everything does, unless the call or its association is over."""
        self.wait_for_the_rest(caller, client)
        self.books_are_right()
        if self.reaches(caller) and client.association.state is not Sctp.DONE:
            assert not client.under_way(), "a message never came back"
            assert not client.closing(), "a channel never closed"

    def last_rounds(self, which: int, chances: int) -> None:
        """A death perhaps, and then whatever time brings back."""
        world = self.world
        assert isinstance(world, DataWorld)
        world.die_in = chances
        super().conversation(which, 2, set())
        world.die_in = 0
        self.comes_back(self.callers[which], self.client(which))

    def teardown(self) -> None:
        """Whoever is still connected gets everything back: with deaths around the last echoes and closes, when
        nobody says anything more and only timers help."""
        for which, caller in enumerate(self.callers):
            client = self.client(which)
            if client.tainted or caller.hung_up or client.done is None:
                continue
            client.out, client.into = [], []
            for chances in LAST_CHANCES:
                for size in LAST_SIZES:
                    client.say(0, size)
                self.last_rounds(which, chances)
                client.close(0)
                self.last_rounds(which, chances)
                if client.association.state is not Sctp.DONE:
                    client.open(ordered=True)
        super().teardown()


@machine_test
def test_data_any_interleaving() -> None:
    """See above."""
    with mortal():
        run_machine(DataMachine, examples=50)
