"""Nothing that a stranger can send ends an association, and nothing of a peer with a wrong certificate is used."""

import random

import pytest
from cryptography.hazmat.primitives import hashes

from tests.dtls.link import DELAY, Link, Policy, link_by_role, perfect
from tests.dtls.peers import EnginePeer, RawPeer, engine_against, engine_pair
from transceiverd.dtls import ApplicationDataReceived, DtlsConfig, HandshakeCompleted, RecordAuthenticated, Role
from transceiverd.dtls.certificate import parse_fingerprint
from transceiverd.dtls.messages import Fragment
from transceiverd.dtls.records import ALERT, HANDSHAKE, Record, parse_records
from transceiverd.engine import MILLISECOND

ROLES = [Role.CLIENT, Role.SERVER]
WRONG = ("sha-256", bytes(32))


def alert(level: int, description: int, sequence: int = 0, epoch: int = 0) -> bytes:
    return Record(ALERT, 0xFEFD, epoch, sequence, bytes((level, description))).serialize()


def established() -> tuple[EnginePeer, EnginePeer, Link]:
    client, server = engine_pair()
    link = Link(client, server)
    link.start()
    link.settle()
    assert client.completed is not None
    assert server.completed is not None
    return client, server, link


def garbage(dice: random.Random) -> bytes:
    """Random bytes, or a record of random content that frames correctly."""
    if dice.random() < 0.5:
        return dice.randbytes(dice.randrange(0, 100))
    kind, epoch = dice.choice((20, 21, 22, 23)), dice.choice((0, 1, 1, 2, 0xFFFF))
    return Record(kind, 0xFEFD, epoch, dice.getrandbits(48), dice.randbytes(dice.randrange(0, 60))).serialize()


def damaging(link: Link, dice: random.Random) -> Policy:
    """A link that flips a bit in four of ten datagrams."""

    def policy(direction: int, number: int, datagram: bytes) -> list[int]:
        if dice.random() < 0.6:
            return [DELAY]
        broken = bytearray(datagram)
        broken[dice.randrange(len(broken))] ^= 1 << dice.randrange(8)
        link.peers[1 - direction].receive(bytes(broken), link.now)
        return []

    return policy


def complete(link: Link, policy: Policy) -> None:
    """The handshake of two engines over a link with this policy."""
    link.policy = policy
    link.start()
    link.settle()
    assert all(peer.completed is not None for peer in link.peers)


# -------------------------------------------------------------------- certificates


@pytest.mark.parametrize("role", ROLES)
def test_engine_ends_on_a_fingerprint_mismatch(role: Role) -> None:
    raw = RawPeer(role)
    raw.fingerprint = WRONG
    ours = engine_against(raw)
    link = link_by_role(raw, ours)
    link.start()
    link.settle(1)
    assert ours.closed == "fingerprint mismatch"
    assert ours.of(HandshakeCompleted) == []
    assert ours.of(RecordAuthenticated) == []
    assert (ours.state.version, ours.state.write_key, ours.state.closed) == (0, b"", 1)
    last = parse_records(ours.wire.datagrams[-1])
    assert [(record.content_type, record.epoch, record.body) for record in last] == [(ALERT, 0, b"\x02\x2a")]
    assert not raw.done
    assert "bad certificate" in str(raw.error)
    assert ours.timeout() is None
    assert all(record.epoch == 0 for datagram in ours.wire.datagrams for record in parse_records(datagram))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda a: a.name)
def test_engine_accepts_any_of_several_fingerprints(role: Role, algorithm: hashes.HashAlgorithm) -> None:
    raw = RawPeer(role)
    name = algorithm.name.replace("sha", "sha-")
    digest = raw.certificate.fingerprint(algorithm).hex(":").upper()
    ours = EnginePeer(
        Role.SERVER if role == Role.CLIENT else Role.CLIENT,
        [WRONG, ("md5", "00:" * 15 + "00"), ("sha-512", bytes(64)), (name.upper(), digest.lower())],
    )
    link = link_by_role(raw, ours)
    link.start()
    link.settle()
    assert ours.completed is not None


@pytest.mark.parametrize("offered", [[], [("md5", "00:" * 15 + "00")], [("md2", bytes(16))], [("sha-1", bytes(20))]])
def test_engine_wants_a_fingerprint_it_can_trust(offered: list[tuple[str, str | bytes]]) -> None:
    with pytest.raises(ValueError, match="no usable fingerprint"):
        EnginePeer(Role.CLIENT, offered)


def test_certificate_fingerprints_are_parsed_strictly() -> None:
    good = ":".join(["0a"] * 32)
    assert parse_fingerprint("SHA-256", good) == ("sha-256", b"\x0a" * 32)
    for bad in ("", good[:-1], good + ":", good.replace(":", " "), good.replace("0a", "0g", 1), " " + good[1:]):
        assert parse_fingerprint("sha-256", bad) is None
    assert parse_fingerprint("sha-512", good) is None


def test_engine_wants_the_peers_certificate() -> None:
    # As server; as client no suite without one is offered.
    raw = RawPeer(Role.CLIENT, certificate=False)
    ours = engine_against(raw)
    link = Link(raw, ours)
    link.start()
    link.settle()
    assert ours.closed == "handshake failed"
    assert ours.of(HandshakeCompleted) == []
    assert not raw.done


# -------------------------------------------------------------------- during the handshake


@pytest.mark.parametrize("role", ROLES)
def test_engine_outlives_plaintext_alerts_and_garbage_in_the_handshake(role: Role) -> None:
    dice = random.Random(7)
    client, server = engine_pair()
    link = Link(client, server)
    target = client if role == Role.CLIENT else server

    def flood(direction: int, number: int, datagram: bytes) -> list[int]:
        for sequence in range(300):
            target.receive(alert(2, dice.choice((0, 10, 40, 42, 48, 80, 90)), sequence), link.now)
            target.receive(dice.randbytes(dice.randrange(0, 80)), link.now)
        return [DELAY]

    complete(link, flood)
    assert target.engine.drops["plaintext alert"] >= 300
    assert target.engine.alert_hint is not None


def test_engine_believes_only_the_time_out_of_a_peer_that_refuses() -> None:
    client, server = engine_pair()
    client.start(0)
    server.start(0)
    client.receive(alert(2, 40), 5 * MILLISECOND)
    assert client.closed is None
    while (deadline := client.timeout()) is not None:
        client.handle_timeout(deadline)
        client.datagrams()
    assert client.closed == "dtls timeout"
    assert client.engine.alert_hint is not None
    assert client.engine.alert_hint.name == "handshake_failure"


@pytest.mark.parametrize("role", ROLES)
def test_engine_drops_reflected_and_unexpected_messages(role: Role) -> None:
    client, server = engine_pair()
    link = Link(client, server)
    target = client if role == Role.CLIENT else server
    forged = [Fragment(kind, 0, number, 0, b"") for kind in (0, 4, 20, 22, 24, 67, 254) for number in (0, 1, 2)]
    forged += [Fragment(1, 0, 1, 0, b""), Fragment(3, 0, 1, 0, b"")]

    def inject(direction: int, number: int, datagram: bytes) -> list[int]:
        for sequence, fragment in enumerate(forged):
            target.receive(Record(HANDSHAKE, 0xFEFD, 0, sequence, fragment.serialize()).serialize(), link.now)
        for sent in list(target.wire.datagrams) if role == Role.CLIENT else []:
            # Not towards a server: a reflected Certificate is a forged one, and a mismatch, as it should be.
            target.receive(sent, link.now)
        return [DELAY]

    complete(link, inject)
    assert target.engine.drops["handshake message unexpected"] >= len(forged)


def test_engine_bounds_a_flood_of_fragments() -> None:
    config = DtlsConfig()
    client, server = engine_pair(config=config)
    server.start(0)
    client.start(0)
    dice = random.Random(3)
    handshake = server.engine._handshake
    assert handshake is not None
    for sequence in range(5000):
        forged = Fragment(11, dice.randrange(2, 1 << 24), dice.randrange(0, 20), 0, b"x")
        server.receive(Record(HANDSHAKE, 0xFEFD, 0, sequence, forged.serialize()).serialize(), 0)
        assert handshake._reassembly.bytes_held <= config.reassembly_bytes_max
    assert server.engine.drops["handshake budget"] == 5000 - config.handshake_datagrams_max
    assert server.closed is None
    assert server.datagrams() == []


def test_engine_bounds_fragments_in_few_datagrams() -> None:
    _, server = engine_pair(config=DtlsConfig(handshake_fragments_max=100))
    server.start(0)
    tiny = Fragment(11, 2, 5, 0, b"x").serialize()
    for sequence in range(10):
        server.receive(Record(HANDSHAKE, 0xFEFD, 0, sequence, tiny * 50).serialize(), 0)
    assert server.engine.drops["handshake budget"] == 8


@pytest.mark.parametrize("role", ROLES)
def test_engine_completes_through_forged_pieces(role: Role) -> None:
    # Pieces that conflict with every message to come; the peer's own messages come whole.
    client, server = engine_pair()
    link = Link(client, server)
    target = client if role == Role.CLIENT else server

    def inject(direction: int, number: int, datagram: bytes) -> list[int]:
        for sequence in range(30):
            kind = 11 if sequence % 2 else (2 if role == Role.CLIENT else 16)
            forged = Fragment(kind, 9_000, sequence % 8, 0, b"forged")
            target.receive(Record(HANDSHAKE, 0xFEFD, 0, sequence, forged.serialize()).serialize(), link.now)
        return [DELAY]

    complete(link, inject)


def test_engine_keeps_few_records_from_before_the_keys() -> None:
    _, server = engine_pair()
    server.start(0)
    for sequence in range(100):
        server.receive(Record(HANDSHAKE, 0xFEFD, 1, sequence, bytes(48)).serialize(), 0)
        server.receive(Record(23, 0xFEFD, 1, sequence, bytes(48)).serialize(), 0)
    assert server.engine.drops["record before keys"] == 192


def test_engine_never_raises_on_damaged_handshakes() -> None:
    # Damaged content may end a handshake (DTLS 1.2 cannot tell who wrote it) but only with a reason.
    reasons = set()
    for seed in range(60):
        dice = random.Random(seed)
        client, server = engine_pair()
        link = Link(client, server)

        link.policy = damaging(link, dice)
        link.start()
        link.settle()
        reasons |= {client.closed, server.closed}
    assert reasons <= {None, "handshake failed", "dtls timeout", "fingerprint mismatch", "peer alert: decrypt_error"}
    assert None in reasons


# -------------------------------------------------------------------- established


@pytest.mark.parametrize("role", ROLES)
def test_engine_outlives_plaintext_alerts_and_garbage(role: Role) -> None:
    client, server, link = established()
    target, other = (client, server) if role == Role.CLIENT else (server, client)
    dice = random.Random(11)
    before = list(target.events)
    state = target.state.read_highest, target.state.read_window
    for sequence in range(3000):
        target.receive(alert(2, dice.choice((0, 20, 40, 80)), sequence), link.now)
        target.receive(alert(2, 0, sequence, epoch=1), link.now)
        target.receive(garbage(dice), link.now)
    target.datagrams()
    assert target.events == before
    assert (target.state.read_highest, target.state.read_window) == state
    assert sum(target.engine.drops.values()) >= 9000
    assert set(target.engine.drops) <= {
        "plaintext record", "record too short", "record not authentic", "record replayed", "record epoch",
        "record cut", "record type", "record version", "record too long",
    }  # fmt: skip
    other.engine.send(b"still here", link.now)
    link.drain()
    link.settle()
    assert ApplicationDataReceived(b"still here") in target.events


def test_engine_drops_replayed_cut_and_flipped_records() -> None:
    client, server, link = established()
    client.engine.send(b"once", link.now)
    (datagram,) = client.datagrams()
    for end in range(len(datagram)):
        server.receive(datagram[:end], link.now)
    for bit in range(len(datagram) * 8):
        flipped = bytearray(datagram)
        flipped[bit // 8] ^= 1 << bit % 8
        server.receive(bytes(flipped), link.now)
    server.datagrams()
    assert server.of(ApplicationDataReceived) == []
    proofs = len(server.of(RecordAuthenticated))
    for _ in range(5):
        server.receive(datagram, link.now)
    server.datagrams()
    assert server.of(ApplicationDataReceived) == [ApplicationDataReceived(b"once")]
    assert len(server.of(RecordAuthenticated)) == proofs + 1
    assert server.engine.drops["record replayed"] == 4
    assert sum(server.engine.drops.values()) == len(datagram) * 9 + 4


def test_engine_refuses_renegotiation() -> None:
    client, server, link = established()
    layer = client.engine._layer
    assert layer is not None
    hello = Fragment(1, 4, 9, 0, b"more").serialize()
    server.receive(layer.seal(HANDSHAKE, hello), link.now)
    server.receive(layer.seal(HANDSHAKE, b"\0"), link.now)
    assert server.datagrams() == []
    assert server.closed is None
    assert server.engine.drops == {"renegotiation": 1, "handshake message cut": 1}


def test_engine_on_a_perfect_link_drops_nothing() -> None:
    client, server, link = established()
    link.policy = perfect
    for _ in range(100):
        client.engine.send(b"x", link.now)
        server.engine.send(b"x", link.now)
        link.drain()
    link.settle()
    assert not client.engine.drops
    assert not server.engine.drops
    assert len(client.of(ApplicationDataReceived)) == len(server.of(ApplicationDataReceived)) == 100
