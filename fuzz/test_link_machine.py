"""Any fate of every datagram between two whole sessions, both ways, from the first check on: lost, doubled, held back,
out of order, changed; any time between, in which either end looks at its timers or does not; a NAT that forgets, a
server whose process is another one. Nobody ends but by a deadline or because it was asked to, nothing is accepted or
sealed twice, both have the same keys; and once the link is clean, timers alone bring the audio back in a bounded time.

The ends and the wire are in link_world.py; here is what becomes of them.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fuzz.link_world import INTO, OUT, Line, Packet
from fuzz.machine import machine_test, run_machine
from fuzz.session_world import ROLES
from fuzz.strategies.mutation import _edited
from fuzz.test_session_machine import EDIT, PICK
from tests.bottle import RTP, TICK
from transceiverd.dtls.config import DtlsConfig
from transceiverd.engine import MILLISECOND, SECOND
from transceiverd.lanes import DTLS, STUN

PASS, LOSE, TWICE, HOLD, BEND = range(5)
# Mostly a deadline that a run does not come to, so that to miss it is no excuse; the budgets are tests/dtls' affair.
BUDGETS = {"resends_max": 1_000, "handshake_datagrams_max": 10_000, "handshake_bytes_max": 1 << 24,
           "handshake_fragments_max": 100_000}  # fmt: skip
LONG = DtlsConfig(handshake_timeout_ms=60_000, **BUDGETS)
DEADLINES = [DtlsConfig(**BUDGETS), LONG, LONG, LONG]

WAY = st.sampled_from([OUT, INTO])
SELDOM = st.sampled_from([False] * 11 + [True])
SOMETIMES = st.sampled_from([False] * 3 + [True])
WEATHER = st.sampled_from([PASS, PASS, LOSE, HOLD])
KIND = st.sampled_from([STUN, DTLS, RTP])
FATE = st.sampled_from([PASS, PASS, PASS, LOSE, LOSE, TWICE, HOLD, BEND])
# Mixed; or well up to somewhere, from where on it is as the weather is.
FATES = st.one_of(st.lists(FATE, max_size=12), st.integers(0, 8).map(lambda count: [PASS] * count))


class LinkMachine(RuleBasedStateMachine):
    """`held`: packets that wait until somebody lets them go. `weather`: the fate of all that has none of its own."""

    line: Line

    def __init__(self) -> None:
        super().__init__()
        self.held: tuple[list[Packet], list[Packet]] = ([], [])
        self.weather = (PASS, PASS)

    @initialize(setup=st.sampled_from(sorted(ROLES)), dtls=st.sampled_from(DEADLINES), talking=st.booleans(),
                by_client=st.booleans(), leftovers=st.booleans(), dies=st.booleans(),
                weather=st.tuples(WEATHER, WEATHER), rounds=st.sampled_from([0, 3, 6, 9, 20]),
                out=FATES, into=FATES)  # fmt: skip
    def begins(
        self, setup: str, dtls: DtlsConfig, talking: bool, by_client: bool, leftovers: bool, dies: bool,
        weather: tuple[int, int], rounds: int, out: list[int], into: list[int],
    ) -> None:  # fmt: skip
        """`by_client`, `leftovers`: who closes in the end, and whether what is held then still comes. `dies`: the
        server's process is another one as soon as the call is connected."""
        self.line = Line(setup, dtls)
        self.line.client.talking = talking
        self.by_client = by_client
        self.leftovers = leftovers
        self.dies = dies
        self.weather = weather
        self.converse(rounds, out, into)

    # ------------------------------------------------------------------ the wire

    @rule(out=WEATHER, into=WEATHER)
    def weather_changes(self, out: int, into: int) -> None:
        """For as long as it lasts."""
        self.weather = (out, into)

    @rule(rounds=st.sampled_from([1, 2, 4, 8, 16]), out=FATES, into=FATES, inside=st.booleans())
    def converse(self, rounds: int, out: list[int], into: list[int], inside: bool = False) -> None:
        """Both ends act and everything flies on as the weather is, but for the first few with fates of their own.

        `inside`: a record of application data goes first.
        """
        if inside:
            self.line.say_inside()
        fates = list(out), list(into)
        for _ in range(rounds):
            self.line.now += TICK
            self.line.client_acts()
            self.line.server_acts()
            if self.dies and self.line.call.record.connected_ns:
                self.dies = False
                self.line.restore()
            for way in (OUT, INTO):
                packets = self.line.flying[way][:]
                self.line.flying[way].clear()
                for packet in packets:
                    self._suffers(way, packet, fates[way].pop(0) if fates[way] else self.weather[way])

    def _suffers(self, way: int, packet: Packet, fate: int) -> None:
        if fate in (TWICE, HOLD):
            self.held[way].append(packet)
        if fate in (TWICE, PASS):
            self.line.arrive(way, packet)
        if fate == BEND:
            self.line.arrive_changed(way, Packet(_bent(packet.data), packet.key))

    @rule(way=WAY, which=PICK, fate=FATE)
    def one(self, way: int, which: int, fate: int) -> None:
        """Of what flies, in any order."""
        flying = self.line.flying[way]
        if flying:
            self._suffers(way, flying.pop(which % len(flying)), fate)

    @rule(way=WAY, backwards=st.booleans())
    def all_of_it(self, way: int, backwards: bool) -> None:
        """Of what flies one way, the last first perhaps."""
        packets = self.line.flying[way][:: -1 if backwards else 1]
        self.line.flying[way].clear()
        for packet in packets:
            self._suffers(way, packet, self.weather[way])

    @precondition(lambda self: self.held[OUT] or self.held[INTO])
    @rule(which=PICK, count=st.sampled_from([1, 1, 4, 50]))
    def let_go(self, which: int, count: int) -> None:
        """Some that were held back, in any order."""
        way = OUT if self.held[OUT] and (which & 1 or not self.held[INTO]) else INTO
        for _ in range(min(count, len(self.held[way]))):
            self.line.arrive(way, self.held[way].pop((which >> 1) % len(self.held[way])))

    @rule(way=WAY, kind=KIND, which=PICK, count=st.integers(1, 4))
    def again(self, way: int, kind: int, which: int, count: int) -> None:
        """Anything that ever was on the wire, as it was, from where it was."""
        past = self.line.past_of(way, kind)
        for number in range(min(count, len(past))):
            self.line.arrive(way, past[(which + number) % len(past)])

    @rule(way=WAY, kind=KIND, which=PICK, newest=st.booleans(), edits=st.lists(EDIT, min_size=1, max_size=2))
    def changed(self, way: int, kind: int, which: int, newest: bool, edits: list[tuple[int, int, int]]) -> None:
        """A copy that suffered on the way, perhaps before the true one came."""
        packets = self.line.flying[way] if newest and self.line.flying[way] else self.line.past_of(way, kind)
        if packets:
            packet = packets[which % len(packets)]
            self.line.arrive_changed(way, Packet(_edited(packet.data, edits), packet.key))

    # ------------------------------------------------------------------ time and the ends

    @rule(milliseconds=st.sampled_from([0, 1, 5, 24, 25, 50, 100, 200, 400, 800, 1_600]))
    def time_passes(self, milliseconds: int) -> None:
        """And nobody looks."""
        self.line.now += milliseconds * MILLISECOND

    @rule(way=WAY)
    def deadline_comes(self, way: int) -> None:
        """To the nanosecond, and whose it is looks."""
        self.line.to_deadline(way)

    @rule(seconds=st.sampled_from([2, 5, 10, 16, 31]), sure=SOMETIMES)
    def much_time_passes(self, seconds: int, sure: bool) -> None:
        """Deadlines come; seldom, because not much is left to see then."""
        if sure:
            self.line.now += seconds * SECOND

    @rule()
    def server_acts(self) -> None:
        """On its timers."""
        self.line.server_acts()

    @rule()
    def client_acts(self) -> None:
        """Likewise."""
        self.line.client_acts()

    @rule(place=PICK)
    def rebound(self, place: int) -> None:
        """Another address in front of the client."""
        self.line.rebind(place)

    @rule(count=st.integers(0, 6))
    def restored(self, count: int) -> None:
        """The server's call, from what its process left; and the newest that was sent to it comes once more."""
        self.line.restore()
        for packet in self.line.past[OUT][-count:] if count else []:
            self.line.arrive(OUT, packet)

    @rule(by_client=st.booleans(), sure=SELDOM)
    def ends(self, by_client: bool, sure: bool) -> None:
        """Somebody hangs up; the other may never hear of it."""
        if sure and by_client:
            self.line.close()
        elif sure:
            self.line.hang_up()

    # ------------------------------------------------------------------ always

    @invariant()
    def holds(self) -> None:
        self.line.check()

    def teardown(self) -> None:
        """The link is clean from now on."""
        line = self.line
        for way in (OUT, INTO):
            for packet in [*self.held[way], *line.flying[way]] if self.leftovers else []:
                line.arrive(way, packet)
            line.flying[way].clear()
        if not line.over and line.comes_up():
            line.ends(self.by_client)
        if not line.call.closing:
            line.hang_up()
        line.now += 60 * SECOND
        line.server_acts()
        assert line.world.sessions.used() == []
        line.check()


def _bent(data: bytes) -> bytes:
    """Where the seal is, if there is one: of a flight's last record, of a check, of audio."""
    return data[:-1] + bytes((data[-1] ^ 1,))


@machine_test
def test_link_any_fate() -> None:
    """See above."""
    run_machine(LinkMachine, examples=120)
