"""Any interleaving of datagrams, time and calls from above: never an exception, no slot leaks, counters add up, never
more than three times its bytes to an unproven address, never a DTLS or SRTP byte to an address that passed no check;
and once a call is connected, nothing but its own peer, its owner or time ends it.

The world and its books are in session_world.py; here is who does what in it.
"""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from fuzz.machine import machine_test, run_machine
from fuzz.session_world import ROLES, World, holds_genuine, is_check
from fuzz.strategies.mutation import EDITS, _edited
from tests.bottle import CLIENT_PASSWORD, CLIENT_UFRAG, TICK, Client
from tests.peers import SERVER, flow
from transceiverd.calls import Call, Created, TooManyCalls
from transceiverd.dtls.engine import DtlsEngine
from transceiverd.engine import MILLISECOND, SECOND
from transceiverd.ice import stun
from transceiverd.session import State

SLOTS = 2
PLACES = [flow(SERVER, (f"198.51.100.{place}", 50000 + place)) for place in range(6)]
WIRE_KEPT = 400  # datagrams that an enemy has seen

PICK = st.integers(0, 1 << 16)
EDIT = st.tuples(st.integers(0, len(EDITS) - 1), st.integers(0, 2000), st.integers(0, 255))


class Caller:
    """A client and its call."""

    def __init__(self, created: Created, call: Call, client: Client) -> None:
        self.created = created
        self.call = call
        self.client = client
        self.hung_up = False


class SessionMachine(RuleBasedStateMachine):
    """Two slots, up to two callers at a time, an enemy who sees everything."""

    def __init__(self) -> None:
        super().__init__()
        self.world = self.make_world()
        self.callers: list[Caller] = []
        self.wire: list[bytes] = []
        self.made = 0

    # ------------------------------------------------------------------ what a machine with more in its calls makes

    def make_world(self) -> World:
        """The server's end."""
        return World(SLOTS)

    def make_call(self, setup: str) -> tuple[Created, Call]:
        """A call."""
        return self.world.create(setup)

    def make_client(self, created: Created, setup: str, path: bytes) -> Client:
        """Its caller."""
        return Client(created, ROLES[setup], seed=self.made, now=self.world.now, path=path)

    # ------------------------------------------------------------------ calls from above

    @initialize(setup=st.sampled_from(sorted(ROLES)), rounds=st.sampled_from([0, 3, 12, 30, 30]))
    def first_call(self, setup: str, rounds: int) -> None:
        """Mostly one that is up: by chance alone few would come so far."""
        self.new_call(setup, 0, False)
        self.conversation(0, rounds, set())

    @rule(setup=st.sampled_from(sorted(ROLES)), place=PICK, same_place=st.booleans())
    def new_call(self, setup: str, place: int, same_place: bool) -> None:
        """Often from an address that another call has: a page that was loaded again."""
        if len(self.world.sessions.used()) == SLOTS:
            with pytest.raises(TooManyCalls):
                self.world.create(setup)
            return
        created, call = self.make_call(setup)
        self.made += 1
        path = PLACES[0] if same_place else PLACES[place % 3]
        client = self.make_client(created, setup, path)
        client.talking = True
        self.callers.append(Caller(created, call, client))

    @precondition(lambda self: self.callers)
    @rule(which=PICK)
    def hang_up(self, which: int) -> None:
        """From above. Twice is nothing new."""
        caller = self.callers[which % len(self.callers)]
        caller.hung_up = True
        if not caller.call.closing:
            self.world.calls.close(caller.call, "hangup", self.world.now)
        self.world.turn()
        self.hand_down()

    @precondition(lambda self: self.callers)
    @rule(which=PICK)
    def rebuild(self, which: int) -> None:
        """OpenSSL's and libsrtp's objects are caches (DESIGN 2.13)."""
        call = self.callers[which % len(self.callers)].call
        if call.session.state in (State.CONNECTED, State.SILENT) and not call.record.dtls.closed:
            self.world.port.rebuild(call.owner.slot)
            call.session.dtls = DtlsEngine.rebuild(call.record.dtls)
            self.world.turn()

    @rule()
    def publish_again(self) -> None:
        """relayd attached anew."""
        self.world.lanes.mark_all_behind(self.world.calls.slots())
        self.world.lanes.catch_up(100)
        self.world.turn()

    # ------------------------------------------------------------------ time

    @rule(milliseconds=st.sampled_from([0, 1, 20, 100, 500, 3_000, 10_000, 16_000, 31_000]))
    def time_passes(self, milliseconds: int) -> None:
        """In one step: whoever was late does all that is due."""
        self.world.handle_timeout(self.world.now + milliseconds * MILLISECOND)
        for caller in self.callers:
            caller.client.handle_timeout(self.world.now)
        self.hand_down()

    # ------------------------------------------------------------------ callers

    @precondition(lambda self: self.callers)
    @rule(which=PICK, rounds=st.sampled_from([1, 2, 5, 15, 40]), lost=st.sets(st.integers(0, 30), max_size=4))
    def conversation(self, which: int, rounds: int, lost: set[int]) -> None:
        """A caller and the server talk; a few of the caller's datagrams are lost."""
        caller = self.callers[which % len(self.callers)]
        for number in range(rounds):
            self.world.handle_timeout(self.world.now + TICK)
            caller.client.handle_timeout(self.world.now)
            while (datagram := caller.client.poll_datagram()) is not None:
                self.wire = [*self.wire[1 - WIRE_KEPT :], datagram.data]
                if number not in lost:
                    self.world.genuine(datagram.data, datagram.destination)
            self.hand_down()

    @precondition(lambda self: self.callers)
    @rule(which=PICK, place=PICK)
    def caller_moves(self, which: int, place: int) -> None:
        """Another network: checks and media from an address that the call has not seen."""
        client = self.callers[which % len(self.callers)].client
        client.path = PLACES[place % 4]
        client.agent.add_pair(client.path, 1 + place % 1000)

    @precondition(lambda self: self.callers)
    @rule(which=PICK)
    def caller_closes(self, which: int) -> None:
        """close_notify from inside."""
        caller = self.callers[which % len(self.callers)]
        caller.hung_up = True
        caller.client.dtls.close(self.world.now)
        self.conversation(which, 2, set())

    def hand_down(self) -> None:
        """What arrived at callers' addresses; the enemy reads along."""
        for key, datagrams in self.world.inbox.items():
            for data in datagrams:
                self.wire = [*self.wire[1 - WIRE_KEPT :], data]
                for caller in self.callers:
                    if caller.client.path == key or data[0] < 4:
                        caller.client.receive(data, key, self.world.now)
        self.world.inbox.clear()
        while self.world.poll_datagram() is not None:
            pass

    # ------------------------------------------------------------------ the enemy

    def connected(self) -> list[Caller]:
        """Whose calls an enemy must not end."""
        return [each for each in self.callers if each.call.session.state is State.CONNECTED and not each.hung_up]

    def attack(self, data: bytes, place: int, *, copied: bool) -> None:
        """A datagram from anywhere. `copied`: somebody else's, unchanged, so that it is all that it was."""
        before = self.connected()
        if data:
            source = PLACES[place % len(PLACES)]
            if copied:
                self.world.genuine(data, source)
            else:
                self.world.arrive(data, source, check=data in self.wire, sealed=holds_genuine(data, self.wire))
        for caller in before:
            assert caller.call.session.state is State.CONNECTED, caller.call.session.close_reason

    @precondition(lambda self: self.wire)
    @rule(seen=PICK, edits=st.lists(EDIT, min_size=1, max_size=4), place=PICK)
    def mutated(self, seen: int, edits: list[tuple[int, int, int]], place: int) -> None:
        """Something that was on the wire, changed, from any address."""
        self.attack(_edited(self.wire[seen % len(self.wire)], edits), place, copied=False)

    @precondition(lambda self: self.wire)
    @rule(seen=PICK, count=st.integers(1, 10), place=PICK)
    def replayed(self, seen: int, count: int, place: int) -> None:
        """A stretch of the wire again, the server's own words too, from any address."""
        for data in [self.wire[(seen + number) % len(self.wire)] for number in range(count)]:
            if data[0] >= 4 or is_check(data):
                self.attack(data, place, copied=True)

    @rule(data=st.binary(min_size=1, max_size=80), place=PICK)
    def noise(self, data: bytes, place: int) -> None:
        """Anything."""
        self.attack(data, place, copied=False)

    @precondition(lambda self: self.callers)
    @rule(which=PICK, place=PICK, knows=st.booleans(), options=st.integers(0, 15))
    def foreign_check(self, which: int, place: int, knows: bool, options: int) -> None:
        """A check by hand: with the call's password (its peer, elsewhere) or with a guess."""
        caller = self.callers[which % len(self.callers)]
        message = stun.Message(stun.REQUEST, (place << 16 | options).to_bytes(12, "big"))
        message.username = f"{caller.created.ufrag}:{CLIENT_UFRAG if options & 1 else 'else'}".encode()
        message.priority, message.use_candidate = place, bool(options & 2)
        message.controlling = None if options & 4 else place
        message.others = ((0x0013, b"?"),) if options & 8 else ()
        message.fingerprint = True
        data = message.serialize((caller.created.password if knows else CLIENT_PASSWORD).encode())
        before = self.connected()
        self.world.arrive(data, PLACES[place % len(PLACES)], check=knows)
        assert all(each.call.session.state is State.CONNECTED for each in before)

    @precondition(lambda self: self.connected())
    @rule(which=PICK, body=st.binary(min_size=2, max_size=20), kind=st.integers(20, 23))
    def plaintext_record(self, which: int, body: bytes, kind: int) -> None:
        """A record in the clear, an alert for choice, from the caller's own address."""
        caller = self.connected()[which % len(self.connected())]
        record = bytes((kind, 0xFE, 0xFD)) + bytes(8) + len(body).to_bytes(2, "big") + body
        self.attack(record, PLACES.index(caller.client.path), copied=False)

    # ------------------------------------------------------------------ always

    @invariant()
    def books_are_right(self) -> None:
        self.world.check_books()

    def teardown(self) -> None:
        """However it went: every slot comes back."""
        for caller in self.callers:
            if not caller.call.closing:
                self.world.calls.close(caller.call, "end", self.world.now)
        self.world.handle_timeout(self.world.now + 60 * SECOND)
        self.world.turn()
        assert self.world.sessions.used() == []
        assert self.world.calls.slots() == []
        self.world.check_books()


@machine_test
def test_session_any_interleaving() -> None:
    """See above."""
    run_machine(SessionMachine, examples=60)
