"""A handshake in either role ends with the same keys on both sides, whatever certificate, suite or profile."""

import pytest

from shm.session import SessionSegment
from tests.dtls.link import DELAY, Link, link_by_role
from tests.dtls.peers import EnginePeer, RawPeer, context, engine_against, engine_pair
from transceiverd.dtls import ApplicationDataReceived, DtlsEngine, HandshakeCompleted, RecordAuthenticated, Role
from transceiverd.dtls.engine import EngineState
from transceiverd.dtls.srtp import PROFILES, exported_bytes

ROLES = [Role.CLIENT, Role.SERVER]


def link_to(raw: RawPeer) -> tuple[EnginePeer, Link]:
    ours = engine_against(raw)
    link = link_by_role(raw, ours)
    link.start()
    link.settle()
    return ours, link


def test_engine_handshakes_with_itself_in_two_round_trips() -> None:
    client, server = engine_pair()
    link = Link(client, server)
    link.start()
    link.settle()
    assert [len(side.wire.datagrams) for side in (client, server)] == [2, 2]
    mine, theirs = client.completed, server.completed
    assert mine is not None
    assert theirs is not None
    assert (mine.local_key, mine.local_salt) == (theirs.remote_key, theirs.remote_salt)
    assert (mine.remote_key, mine.remote_salt) == (theirs.local_key, theirs.local_salt)
    assert mine.local_key != mine.remote_key
    assert mine.srtp_profile == 0x0007
    assert (mine.version, mine.cipher) == ("DTLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256")


def test_engine_tells_when_each_phase_was() -> None:
    client, server = engine_pair()
    link = Link(client, server)
    started = link.now
    link.start()
    link.settle()
    trip = 10_000_000
    assert client.completed is not None
    assert server.completed is not None
    phases = client.completed.phases
    assert (phases.started, phases.first_received - started) == (started, 2 * trip)
    assert (phases.keys_derived - started, phases.completed - started) == (2 * trip, 4 * trip)
    assert (phases.datagrams_received, phases.datagrams_sent, phases.resends) == (2, 2, 0)
    assert server.completed.phases.completed - started == 3 * trip


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_engine_handshakes_with_openssl(role: Role, kind: str) -> None:
    raw = RawPeer(role, kind)
    ours, link = link_to(raw)
    done = ours.completed
    assert raw.done
    assert done is not None
    profile = next(profile for profile in PROFILES if profile.number == done.srtp_profile)
    exported = raw.connection.export_keying_material(b"EXTRACTOR-dtls_srtp", exported_bytes(profile))
    mine = (done.local_key, done.remote_key, done.local_salt, done.remote_salt)
    theirs = (done.remote_key, done.local_key, done.remote_salt, done.local_salt)
    assert exported == b"".join(theirs if role == Role.CLIENT else mine)
    ours.engine.send(b"to them", link.now)
    raw.send(b"to us")
    link.drain()
    link.settle()
    assert raw.received == [b"to them"]
    assert ours.of(ApplicationDataReceived) == [ApplicationDataReceived(b"to us")]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
@pytest.mark.parametrize("suite", ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"])
def test_engine_speaks_each_suite(role: Role, kind: str, suite: str) -> None:
    # The certificate of the DTLS server decides between ECDSA and RSA; as server that is always ours.
    signature = "ECDSA" if role == Role.CLIENT else kind.upper()
    name = f"ECDHE-{signature}-{suite}"
    raw = RawPeer(role, kind, ciphers=name.encode())
    ours, link = link_to(raw)
    assert ours.completed is not None
    assert ours.completed.cipher == name
    for number in range(3):
        ours.engine.send(b"data %d" % number, link.now)
        raw.send(b"data %d" % number)
    link.drain()
    link.settle()
    assert raw.received == [b"data 0", b"data 1", b"data 2"]
    assert [event.data for event in ours.of(ApplicationDataReceived)] == raw.received


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (b"SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_256_GCM:SRTP_AEAD_AES_128_GCM", None),
        (b"SRTP_AEAD_AES_256_GCM", 0x0008),
        (b"SRTP_AES128_CM_SHA1_80", 0x0001),
        (b"SRTP_AES128_CM_SHA1_32", 0x0000),
        (b"", 0x0000),
    ],
)
def test_engine_agrees_on_a_profile(role: Role, offered: bytes, chosen: int | None) -> None:
    ours, _ = link_to(RawPeer(role, profiles=offered))
    done = ours.completed
    assert done is not None
    if chosen is None:  # the server's order counts: ours as server, theirs as client
        chosen = 0x0007 if role == Role.CLIENT else 0x0001
    assert done.srtp_profile == chosen
    lengths = {0x0007: (16, 12), 0x0008: (32, 12), 0x0001: (16, 14), 0: (0, 0)}[chosen]
    assert (len(done.local_key), len(done.local_salt)) == lengths
    assert (len(done.remote_key), len(done.remote_salt)) == lengths


@pytest.mark.parametrize("role", ROLES)
def test_engine_refuses_suites_without_aead(role: Role) -> None:
    raw = RawPeer(role, ciphers=b"ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0")
    ours, _ = link_to(raw)
    assert ours.completed is None
    assert not raw.done
    assert ours.closed in ("handshake failed", "dtls timeout")


@pytest.mark.parametrize("lost", [None, 0, 1, 2])
def test_engine_answers_a_hello_verify_request(lost: int | None) -> None:
    # Some DTLS servers want a cookie back first; each datagram of ours may be lost on the way.
    raw = RawPeer(Role.SERVER, cookies=True)
    ours = engine_against(raw)
    link = Link(ours, raw, lambda direction, number, _: [] if (direction, number) == (0, lost) else [DELAY])
    link.start()
    link.settle()
    assert raw.done
    assert ours.completed is not None
    assert ours.completed.phases.datagrams_received == 3
    hello, again = (datagram for datagram in ours.wire.datagrams[:2])
    assert b"cookie" not in hello
    assert lost == 0 or b"cookie" in again


@pytest.mark.parametrize("late", [None, 0, 1])
def test_engine_takes_a_client_hello_of_two_datagrams(late: int | None) -> None:
    # Chromium and Firefox send a post-quantum key share: about 1,400 bytes, in two datagrams, in any order.
    raw = RawPeer(Role.CLIENT, hello_padding=1300)
    ours = engine_against(raw)
    link = Link(raw, ours, lambda direction, number, _: [DELAY * (2 if (direction, number) == (0, late) else 1)])
    link.start()
    assert link.sent[0] == 2
    link.settle()
    assert raw.done
    assert ours.completed is not None
    assert not ours.engine.drops


@pytest.mark.parametrize("mtu", [256, 400, 900, 1200])
def test_engine_keeps_to_the_mtu(mtu: int) -> None:
    # The wire watcher of EnginePeer compares every datagram with the MTU.
    client, server = engine_pair(mtu)
    link = Link(client, server)
    link.start()
    link.settle()
    assert client.completed is not None
    assert server.completed is not None
    client.engine.send(b"x" * client.engine.application_data_max, link.now)
    link.drain()
    link.settle()
    assert [len(event.data) for event in server.of(ApplicationDataReceived)] == [mtu - 37]


def test_engine_frees_openssl_when_done() -> None:
    client, server = engine_pair()
    link = Link(client, server)
    link.start()
    link.settle()
    for side in (client, server):
        assert side.engine._handshake is None
        assert side.engine.next_timeout() is None
        assert side.engine.status is EngineState.ESTABLISHED


def test_engine_offers_extended_master_secret_and_no_ticket() -> None:
    client, server = engine_pair()
    server.start(0)
    client.start(0)
    (hello,) = client.datagrams()
    server.receive(hello, 0)
    (flight,) = server.datagrams()
    for datagram in (hello, flight):
        assert b"\x00\x17\x00\x00" in datagram  # RFC 7627
        assert b"\x00\x23\x00\x00" not in datagram  # RFC 5077
    assert len(hello) < 200


def test_engine_takes_no_openssl_before_its_start() -> None:
    # A call that was answered and never checked costs no handshake's memory.
    client, _ = engine_pair()
    assert client.engine._handshake is None
    client.start(0)
    assert client.engine._handshake is not None


def test_engine_shows_no_key_to_a_log() -> None:
    client, server = engine_pair()
    link = Link(client, server)
    link.start()
    link.settle()
    done = client.completed
    assert done is not None
    shown = repr(client.events) + repr(client.state) + str(done)
    for secret in (done.local_key, done.remote_key, client.state.write_key, client.state.read_key, done.local_salt):
        assert repr(secret) not in shown
        assert secret.hex() not in shown


def test_engine_works_on_the_session_segment() -> None:
    # The state of the product: struct session_dtls in shared memory.
    segment = SessionSegment.create(4, 0)
    slot = segment.allocate(0)
    assert slot is not None
    raw = RawPeer(Role.SERVER)
    ours = engine_against(raw)
    ours.state = segment.record(slot).dtls
    ours.engine = DtlsEngine(context("ours"), Role.CLIENT, [raw.fingerprint], ours.state)
    link = Link(ours, raw)
    link.start()
    link.settle()
    for number in range(3):
        ours.engine = DtlsEngine.rebuild(segment.record(slot).dtls)
        ours.engine.send(b"%d" % number, link.now)
        raw.send(b"%d" % number)
        link.drain()
        link.settle()
    assert raw.received == [b"0", b"1", b"2"]
    assert [event.data for event in ours.of(ApplicationDataReceived)] == raw.received
    assert segment.record(slot).dtls.read_highest > 3
    ours.engine.close(link.now)
    link.drain()
    link.settle()
    assert raw.closed
    assert segment.record(slot).dtls.closed


def test_engine_reports_events_in_order() -> None:
    client, server = engine_pair()
    link = Link(client, server)
    link.start()
    link.settle()
    for side in (client, server):
        assert [type(event) for event in side.events] == [HandshakeCompleted, RecordAuthenticated]
