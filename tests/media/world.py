"""A media engine between a worker of ours (both ends of its lanes in this process) and clients that are not ours:
pylibsrtp's Session and aiortc's RTP and RTCP. Time is a number; nothing sleeps.
"""

import random
from ipaddress import ip_address

from aiortc import rtp as aiortc_rtp
from pylibsrtp import Policy, Session

from shm.counters import Counters
from shm.flowkey import FlowKey
from shm.lane import MEDIA_IN, MEDIA_OUT, Lane
from shm.ring import RingConsumer, RingProducer
from shm.session import SessionSegment
from transceiverd.media import port as ports
from transceiverd.media.channel import Channel
from transceiverd.media.engine import MediaEngine
from transceiverd.media.outcomes import COUNTER_NAMES, OUTCOME_NAMES

GCM_128, GCM_256, CM_80 = 0x0007, 0x0008, 0x0001
PROFILES = {
    CM_80: (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
    GCM_128: (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
    GCM_256: (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12),
}
RTP, RTCP = 3, 4
CONTENDED = 2
CHECKED, CONNECTED, SILENT, CLOSING = 2, 3, 4, 5
SECOND = 1_000_000_000
MILLISECOND = 1_000_000
INCARNATION = 0x1122334455667788
LOCAL_SSRC = 0xCAFE0001


def key(port: int = 4000) -> bytes:
    """The flow of a client on this port."""
    return FlowKey(1, ip_address("192.0.2.1"), port, ip_address("198.51.100.1"), 3478).pack()


class Client:
    """The other side: keys, SRTP by pylibsrtp, RTP and RTCP by aiortc."""

    def __init__(self, profile: int, seed: int = 1, ssrc: int = 0x1000, sequence: int = 100) -> None:
        dice = random.Random(seed)
        self.profile = profile
        number, key_size, salt_size = PROFILES[profile]
        self.key, self.salt = dice.randbytes(key_size), dice.randbytes(salt_size)
        self.server_key, self.server_salt = dice.randbytes(key_size), dice.randbytes(salt_size)
        self.sender = Session(Policy(self.key + self.salt, Policy.SSRC_ANY_OUTBOUND, 0, number))
        self.receiver = Session(Policy(self.server_key + self.server_salt, Policy.SSRC_ANY_INBOUND, 0, number))
        self.ssrc = ssrc
        self.sequence = sequence
        self.timestamp = 5000

    def plain(self, payload: bytes = b"voice", payload_type: int = 111, marker: int = 0) -> bytes:
        """The next RTP packet, not encrypted."""
        packet = aiortc_rtp.RtpPacket(
            payload_type, marker, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc, payload
        )
        self.sequence += 1
        self.timestamp += 960
        return packet.serialize()

    def packet(self, payload: bytes = b"voice", **fields: int) -> bytes:
        """The next SRTP packet."""
        return self.sender.protect(self.plain(payload, **fields))

    def rtcp(self, *packets: object) -> bytes:
        """An SRTCP compound."""
        return self.sender.protect_rtcp(b"".join(bytes(packet) for packet in packets))

    def heard(self, data: bytes) -> aiortc_rtp.RtpPacket:
        """An SRTP packet of the server's, decrypted; raises if it was seen or is wrong."""
        return aiortc_rtp.RtpPacket.parse(self.receiver.unprotect(data))

    def heard_rtcp(self, data: bytes) -> list[aiortc_rtp.AnyRtcpPacket]:
        """An SRTCP compound of the server's."""
        return aiortc_rtp.RtcpPacket.parse(self.receiver.unprotect_rtcp(data))


class World:
    """One transceiver's media thread, driven by hand."""

    def __init__(self, *, slots: int = 8, lanes: int = 1, ring: int = 1 << 20, out: int | None = None, **options: int):
        self.now = 1_000 * SECOND
        self.sessions = SessionSegment.create(slots, 0, incarnation=INCARNATION)
        self.lanes = [
            Lane.create(0, k, handshake_in=4096, media_in=ring, control_out=4096, media_out=out or ring)
            for k in range(lanes)
        ]
        self.workers_in = [RingProducer(lane.segment, MEDIA_IN) for lane in self.lanes]
        self.workers_out = [RingConsumer(lane.segment, MEDIA_OUT) for lane in self.lanes]
        self.counters = Counters.create(COUNTER_NAMES, 0, INCARNATION)
        self.channel = Channel()
        self.engine = MediaEngine(
            self.sessions.segment,
            self.lanes,
            self.counters,
            self.channel,
            incarnation=INCARNATION,
            ntp_offset_ns=ports.ntp_offset_ns(1_800_000_000 * SECOND, self.now),
            seed=options.pop("seed", 7),
            **options,
        )
        self.port = ports.MediaPort(self.sessions, self.channel, self.engine)

    def call(self, client: Client, *, installed: bool = True, state: int = CONNECTED, port: int = 4000) -> int:
        """A slot whose DTLS is done: keys, one checked and nominated address."""
        slot = self.sessions.allocate(self.now)
        assert slot is not None
        record = self.sessions.record(slot)
        record.srtp.install(client.profile, client.server_key, client.server_salt, client.key, client.salt)
        record.local_ssrc = LOCAL_SSRC
        record.rtcp_cname = 0x00ABCDEF
        record.payloads = [(111, 48000), (0, 8000), (101, 8000)]
        record.application = 1
        record.addresses.set(0, key(port), 1, self.now)
        record.addresses.nominated = 0
        record.state = state
        if installed:
            self.port.install(slot)
            self.turn()
            assert ports.Installed(slot, record.generation) in self.port.poll_events()
        return slot

    def give(self, slot: int, data: bytes, *, kind: int = RTP, lane: int = 0, port: int = 4000, **fields: int) -> None:
        """What a worker does with a packet of this call."""
        record = self.sessions.record(slot)
        fields = {"generation": record.generation, "incarnation": INCARNATION, "receive_time_ns": self.now} | fields
        assert self.workers_in[lane].write(kind, key(port), data, slot=slot, **fields)
        self.workers_in[lane].publish()

    def turn(self, step_ns: int = 0) -> int:
        self.now += step_ns
        return self.engine.turn(self.now)

    def taken(self, lane: int = 0) -> list[tuple[bytes, bytes]]:
        """What the worker would send now: (destination key, bytes)."""
        records = self.workers_out[lane].read(100_000)
        self.workers_out[lane].release()
        return [(record.key, record.payload) for record in records]

    def sent(self, lane: int = 0) -> list[bytes]:
        """RTP that the worker would send now."""
        return [data for _, data in self.taken(lane) if not aiortc_rtp.is_rtcp(data)]

    def reports(self, lane: int = 0) -> list[bytes]:
        """RTCP that the worker would send now."""
        return [data for _, data in self.taken(lane) if aiortc_rtp.is_rtcp(data)]

    def echo(self, slot: int, data: bytes, **fields: int) -> list[bytes]:
        """Give one packet, make a turn, and see what goes back."""
        self.give(slot, data, **fields)
        self.turn()
        return self.sent()

    def count(self, name: str) -> int:
        return self.counters[name]

    def adds_up(self) -> bool:
        """DESIGN 2.9: every record has one outcome."""
        counted = self.counters.read()
        held = counted["early_kept"] - counted["early_released"]
        return counted["received"] == sum(counted[name] for name in OUTCOME_NAMES) + held
