# cython: language_level=3, boundscheck=False, wraparound=False
"""The targets that libFuzzer drives, under AddressSanitizer and UndefinedBehaviorSanitizer: what is compiled.

Compiled into the executable by run.py, against instrumented builds of the parsers. Each target states its invariant in
its first line; a broken one raises, which driver.c turns into libFuzzer's crash. `data` is an allocation of exactly
`size` bytes, so a read past its end is seen; `guarded` gives the same to parsers that take bytes.

Left out: everything that is not compiled (fuzz/test_*.py has it), and sockets: `route` begins behind recvmmsg.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset, strcmp

from relayd.headers cimport binding_request_ufrag, packet_kind
from relayd.inbound cimport inbound, route_batch
from relayd.keyring cimport Keyring, verify_ufrag
from relayd.lane_ends cimport LaneEnds, publish_touched, refresh_incarnations
from relayd.outcomes cimport COUNTERS, FORWARDED_STUN, LOST_IN_RESTART
from relayd.receiver cimport CONTROL_MAX, DATAGRAM_MAX, receiver
from relayd.udp cimport (
    AF_INET,
    AF_INET6,
    CMSG_DATA,
    CMSG_FIRSTHDR,
    CMSG_LEN,
    IP_PKTINFO,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPV6_PKTINFO,
    MSG_TRUNC,
    cmsghdr,
    iovec,
    mmsghdr,
    sockaddr_in,
    sockaddr_in6,
)
from shm.flows cimport flow_table, flow_table_open
from shm.lane cimport Lane
from shm.layout cimport record, ring_header
from shm.ring cimport (
    record_payload,
    record_payload_size,
    ring,
    ring_claim,
    ring_commit,
    ring_next,
    ring_open_consumer,
    ring_open_producer,
    ring_publish,
    ring_release,
    ring_take,
)
from shm.segment cimport Segment
from transceiverd.media.rtcp cimport check_compound
from transceiverd.media.rtp cimport payload_end, payload_start

from ipaddress import ip_address

from relayd.ufrag import UfragKeys
from shm.errors import MalformedPacket
from shm.flowkey import TRANSPORT_UDP, FlowKey
from shm.flows import FlowTable
from shm.lane import HANDSHAKE_IN, MEDIA_IN
from transceiverd.ice import stun
from transceiverd.media import rtcp, rtp
from transceiverd.sctp import packet as sctp

cdef extern from "<sanitizer/asan_interface.h>" nogil:
    void __asan_poison_memory_region(const void *address, size_t size)
    void __asan_unpoison_memory_region(const void *address, size_t size)

ctypedef int (*target)(const uint8_t *data, size_t size) except -1

cdef enum:
    MACHINE = 7  # as fuzz/seeds.py mints ufrags for
    INCARNATION = 99
    CALL_SLOT = 3
    CALL_GENERATION = 5
    LANE_BYTES = 4096  # so small that rings wrap and run full all the time
    RING_BYTES = 1024
    ROUTE_HEADER = 7  # bytes of a `route` input before the packet: flags, four of an address, port

cdef const uint8_t *LOCAL_V4 = b"\x0a\x09\x09\x09"
cdef const uint8_t *LOCAL_V6 = b"\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09"
cdef const uint8_t *CLIENT_V6 = b"\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"

cdef target chosen = NULL


cdef public int harness_choose(const char *name) except -1:
    """Which target this run is of."""
    global chosen
    if name == NULL:
        raise ValueError("no target named")
    for known, function in (
        (b"classify", <size_t>&run_classify), (b"route", <size_t>&run_route), (b"rtp", <size_t>&run_rtp),
        (b"rtp_value", <size_t>&run_rtp_value), (b"rtcp", <size_t>&run_rtcp), (b"rtcp_value", <size_t>&run_rtcp_value),
        (b"stun", <size_t>&run_stun), (b"sctp", <size_t>&run_sctp), (b"ring", <size_t>&run_ring),
    ):
        if strcmp(name, known) == 0:
            chosen = <target><size_t>function
            return 0
    raise ValueError(f"no such target: {name}")


cdef public int harness_run(const uint8_t *data, size_t size) except -1:
    """One input."""
    return chosen(data, size)


# ------------------------------------------------------------------------------------------------- native leaves

ORIGIN = (int(MACHINE) << 48) | (int(CALL_SLOT) << 16) | int(CALL_GENERATION)
cdef Keyring keys = Keyring(UfragKeys(0, {0: bytes(32), 2: bytes(range(32))}))


cdef int run_classify(const uint8_t *data, size_t size) except -1:
    """Any bytes are one of four kinds or a known reason; a ufrag's place lies inside; a verdict is a known one.

    Each input as it is, and as a STUN message whose length is right: that field is a wall to a fuzzer.
    """
    cdef uint8_t *framed
    classify_one(data, size)
    if size < 20 or size & 3 or data[0] > 3:
        return 0
    framed = <uint8_t *>malloc(size)
    memcpy(framed, data, size)
    framed[2], framed[3] = <uint8_t>((size - 20) >> 8), <uint8_t>(size - 20)
    try:
        classify_one(framed, size)
    finally:
        free(framed)
    return 0


cdef int classify_one(const uint8_t *data, size_t size) except -1:
    cdef int kind = packet_kind(data, size)
    cdef int offset = binding_request_ufrag(data, size)
    cdef uint64_t origin = 0
    cdef int verdict
    if not (1 <= kind <= 4 or -3 <= kind <= -1):
        raise AssertionError(f"kind {kind}")
    if offset >= 0:
        if not 24 <= offset <= <int>size - 32:
            raise AssertionError(f"offset {offset} of {size}")
        verdict = verify_ufrag(&keys.native, data + offset, &origin)
        if not -4 <= verdict <= 0:
            raise AssertionError(f"verdict {verdict}")
    elif offset < -11 or offset == -1 or offset == -2:
        raise AssertionError(f"reason {offset}")
    return 0


cdef int run_rtp(const uint8_t *data, size_t size) except -1:
    """For any bytes header and padding leave a payload that lies inside, or a known reason."""
    cdef Py_ssize_t start = payload_start(data, size)
    cdef Py_ssize_t end
    if start < 0:
        if start < -4:
            raise AssertionError(f"reason {start}")
        return 0
    if not 12 <= start <= <Py_ssize_t>size:
        raise AssertionError(f"start {start} of {size}")
    end = payload_end(data, size, start)
    if end != -5 and not start <= end <= <Py_ssize_t>size:
        raise AssertionError(f"end {end} of {size}")
    return 0


cdef int run_rtcp(const uint8_t *data, size_t size) except -1:
    """Any bytes are a compound that can be read to its end, or a known reason."""
    cdef int verdict = check_compound(data, size)
    if not -7 <= verdict <= 0:
        raise AssertionError(f"verdict {verdict}")
    return 0


cdef int run_ring(const uint8_t *data, size_t size) except -1:
    """Whatever stands in a ring and in its indexes: no access leaves the ring, no call loops, payloads lie inside."""
    cdef uint64_t words[8]
    cdef char *base
    cdef ring_header *header
    if size < 1 + sizeof(words):
        return 0
    base = <char *>malloc(sizeof(ring_header) + RING_BYTES)
    header = <ring_header *>base
    memset(base, 0, sizeof(ring_header) + RING_BYTES)
    memcpy(words, data + 1, sizeof(words))
    header.capacity = words[0] if data[0] & 1 else RING_BYTES
    header.data_offset = words[1] if data[0] & 2 else sizeof(ring_header)
    header.tail, header.head, header.taken = words[2], words[3], words[4]
    header.handling, header.attempts = words[5], words[6]
    memcpy(base + sizeof(ring_header), data + 1 + sizeof(words), min(size - 1 - sizeof(words), <size_t>RING_BYTES))
    try:
        read_ring(base, header, data[0] & 4)
        write_ring(base, header, data[0] >> 3)
    finally:
        free(base)
    return 0


cdef int read_ring(char *base, ring_header *header, bint at_most_once) except -1:
    cdef ring consumer
    cdef record *found
    cdef uint64_t steps = 0
    cdef uint32_t i, total = 0
    if ring_open_consumer(&consumer, base, sizeof(ring_header) + RING_BYTES, header, at_most_once) < 0:
        return 0
    while True:
        found = ring_next(&consumer)
        if found == NULL:
            break
        # ring_next has checked the payload; a sanitizer sees it when that is not so.
        for i in range(consumer.payload_size):
            total += consumer.payload[i]
        steps += 1
        if steps > RING_BYTES // 8:
            raise AssertionError("more records than a ring holds")
    ring_take(&consumer)
    ring_release(&consumer)
    return 0


cdef int write_ring(char *base, ring_header *header, uint32_t size) except -1:
    cdef ring producer
    cdef record *made
    cdef int i
    if ring_open_producer(&producer, base, sizeof(ring_header) + RING_BYTES, header) < 0:
        return 0
    for i in range(8):
        made = ring_claim(&producer, size * 11)
        if made == NULL:
            break
        memset(record_payload(made), 0xEE, record_payload_size(made))
        ring_commit(&producer)
    ring_publish(&producer)
    return 0


# ------------------------------------------------------------------------------------------------- the worker's step


cdef class Relay:
    """What a worker has when recvmmsg comes back: a flow table, a lane, one datagram; no socket."""
    cdef inbound way
    cdef receiver socket
    cdef flow_table flows
    cdef LaneEnds ends
    cdef Segment flow_segment
    cdef object table
    cdef ring handshake, media
    cdef uint64_t tally[<int>COUNTERS]
    cdef uint64_t now

    def __cinit__(self):
        cdef Lane lane
        self.table = FlowTable.create(64)
        self.flow_segment = self.table.segment
        for place, (client, local) in enumerate((("10.0.0.1", "10.9.9.9"), ("fd00::1", "fd00::9"))):
            key = FlowKey(TRANSPORT_UDP, ip_address(client), 5000, ip_address(local), 3478).pack()
            self.table.set_incarnation(0, INCARNATION)
            self.table.publish(key, ORIGIN, INCARNATION, slot=CALL_SLOT, generation=CALL_GENERATION, state=1, now=1)
        # Before the table is opened for writing by its worker, so that both ends agree on what is in it.
        if flow_table_open(&self.flows, self.flow_segment.base, self.flow_segment.size, True) < 0:
            raise AssertionError("flow table")
        lane = Lane.create(0, 0, handshake_in=LANE_BYTES, media_in=LANE_BYTES, control_out=LANE_BYTES,
                           media_out=LANE_BYTES, incarnation=INCARNATION)
        self.ends = LaneEnds()
        self.ends.attach(lane)
        lane.open_consumer(HANDSHAKE_IN, &self.handshake, False)
        lane.open_consumer(MEDIA_IN, &self.media, True)
        self.way.machine = MACHINE
        self.way.flows = &self.flows
        self.way.lanes = &self.ends.set
        self.way.keys = &keys.native
        self.way.tally = self.tally
        self.now = 1
        self.open_socket()

    cdef int open_socket(self) except -1:
        cdef receiver *socket = &self.socket
        memset(socket, 0, sizeof(receiver))
        socket.batch = socket.count = 1
        socket.local_port = 3478
        socket.messages = <mmsghdr *>calloc(1, sizeof(mmsghdr))
        socket.vectors = <iovec *>calloc(1, sizeof(iovec))
        socket.sources = <sockaddr_in6 *>calloc(1, sizeof(sockaddr_in6))
        socket.controls = <uint8_t *>calloc(1, CONTROL_MAX)
        return 0

    cdef int receive(self, uint8_t flags, const uint8_t *address, const uint8_t *port) except -1:
        """What the kernel says beside the payload: source and local address."""
        cdef bint v6 = flags & 1
        cdef sockaddr_in6 *source = self.socket.sources
        cdef cmsghdr *item
        memset(source, 0, sizeof(sockaddr_in6))
        memset(self.socket.controls, 0, CONTROL_MAX)
        self.socket.v6 = v6
        self.socket.messages.msg_hdr.msg_flags = MSG_TRUNC if flags & 2 else 0
        self.socket.messages.msg_hdr.msg_control = self.socket.controls
        # Room for one item; without it the kernel has not said where the datagram came to.
        self.socket.messages.msg_hdr.msg_controllen = 0 if flags & 4 else 40
        memcpy(&source.sin6_port, port, 2)
        item = <cmsghdr *>self.socket.controls
        item.cmsg_level = IPPROTO_IPV6 if v6 else IPPROTO_IP
        item.cmsg_type = IPV6_PKTINFO if v6 else IP_PKTINFO
        item.cmsg_len = CMSG_LEN(20 if v6 else 12)
        if v6:
            source.sin6_family = AF_INET6
            memcpy(&source.sin6_addr, CLIENT_V6, 16)
            memcpy(<uint8_t *>&source.sin6_addr + 8, address, 4)
            memcpy(CMSG_DATA(item), LOCAL_V6, 16)
        else:
            (<sockaddr_in *>source).sin_family = AF_INET
            memcpy(&(<sockaddr_in *>source).sin_addr, address, 4)
            memcpy(CMSG_DATA(item) + 8, LOCAL_V4, 4)
        return 0

    cdef int route(self, const uint8_t *packet, size_t size) except -1:
        """One datagram through route_batch: one outcome, and at most one record, which holds it."""
        cdef uint64_t outcomes = 0
        cdef int i
        memset(self.tally, 0, sizeof(self.tally))
        # A datagram ends where its allocation ends: reading on is seen. In the product it is a slot of a large buffer.
        self.socket.buffers = <uint8_t *>malloc(size)
        memcpy(self.socket.buffers, packet, size)
        self.socket.messages.msg_len = size
        self.now += 1
        refresh_incarnations(&self.ends.set)
        route_batch(&self.way, &self.socket, self.now)
        publish_touched(&self.ends.set)
        free(self.socket.buffers)
        for i in range(FORWARDED_STUN, LOST_IN_RESTART + 1):
            outcomes += self.tally[i]
        if outcomes != 1:
            raise AssertionError(f"{outcomes} outcomes")
        return self.take(&self.handshake, packet, size) + self.take(&self.media, packet, size)

    cdef int take(self, ring *ring_in, const uint8_t *packet, size_t size) except -1:
        cdef record *found = ring_next(ring_in)
        if found == NULL:
            return 0
        if record_payload_size(found) != size or not 1 <= found.type <= 4 or found.incarnation != INCARNATION:
            raise AssertionError("record")
        if found.slot >> 24 or found.origin >> 48 != MACHINE or ring_next(ring_in) != NULL:
            raise AssertionError("record's call, or a second record")
        if found.type > 1 and found.slot != CALL_SLOT:
            raise AssertionError("a stranger's packet in a call")
        ring_take(ring_in)
        ring_release(ring_in)
        return 1


cdef Relay relay = Relay()


cdef int run_route(const uint8_t *data, size_t size) except -1:
    """Any datagram from any address ends in exactly one outcome; at most one record, with its bytes and a call of ours."""
    if size < ROUTE_HEADER or size - ROUTE_HEADER > DATAGRAM_MAX:
        return 0
    relay.receive(data[0], data + 1, data + 5)
    relay.route(data + ROUTE_HEADER, size - ROUTE_HEADER)
    return 0


# ------------------------------------------------------------------------------------------------- values


cdef bytes guarded(const uint8_t *data, size_t size):
    """`data` as bytes whose terminating zero must not be read either."""
    cdef bytes copy = PyBytes_FromStringAndSize(<const char *>data, size)
    if size > 1:  # shorter ones are shared by the interpreter
        __asan_poison_memory_region(PyBytes_AS_STRING(copy) + size, 1)
    return copy


cdef int released(bytes copy) except -1:
    """The interpreter may have the memory back."""
    __asan_unpoison_memory_region(PyBytes_AS_STRING(copy) + len(copy), 1)
    return 0


cdef object parsed(object parse, const uint8_t *data, size_t size, reasons):
    """The value, or None for a known refusal."""
    cdef bytes packet = guarded(data, size)
    try:
        return parse(packet)
    except MalformedPacket as error:
        if error.reason not in reasons:
            raise AssertionError(f"unknown reason {error.reason!r}") from None
        return None
    finally:
        released(packet)


RTP_REASONS = frozenset(rtp.REASONS.values())
RTCP_REASONS = frozenset(rtcp.REASONS.values())
STUN_REASONS = frozenset(stun.REASONS)
SCTP_REASONS = frozenset(sctp.REASONS)


cdef int run_rtp_value(const uint8_t *data, size_t size) except -1:
    """For any input either a value whose serialisation parses to the same value, or a known reason."""
    value = parsed(rtp.parse_rtp, data, size, RTP_REASONS)
    if value is not None and rtp.parse_rtp(rtp.serialize_rtp(value)) != value:
        raise AssertionError(value)
    return 0


cdef int run_rtcp_value(const uint8_t *data, size_t size) except -1:
    """For any input either a value whose serialisation parses to the same value, or a known reason."""
    value = parsed(rtcp.parse_rtcp, data, size, RTCP_REASONS)
    if value is not None and rtcp.parse_rtcp(rtcp.serialize_rtcp(value)) != value:
        raise AssertionError(value)
    return 0


cdef int run_stun(const uint8_t *data, size_t size) except -1:
    """For any input either a message whose serialisation parses to the same one, or a known reason; verify never fails."""
    cdef bytes framed
    check_stun(data, size)
    if size >= 20 and size & 3 == 0:
        # As for classify: the length is a wall, and so is FINGERPRINT.
        framed = stun.with_length(data[:size], size)
        check_stun(framed, size)
        framed = stun.seal_fingerprint(framed)
        check_stun(framed, len(framed))
    return 0


cdef int check_stun(const uint8_t *data, size_t size) except -1:
    message = parsed(stun.parse, data, size, STUN_REASONS)
    if message is None:
        return 0
    message.verify(b"key")
    message.unknown_required()
    if stun.parse(message.serialize()).fields() != message.fields():
        raise AssertionError(message)
    return 0


cdef bytes rewritten(packet):
    """An SCTP packet's bytes again."""
    chunks = [chunk.serialize() for chunk in packet.chunks]
    return sctp.serialize_packet(packet.source_port, packet.destination_port, packet.tag, chunks)


cdef int run_sctp(const uint8_t *data, size_t size) except -1:
    """For any input either chunks whose serialisation parses to the same ones, or a known reason; likewise an INIT."""
    # The checksum is a wall to a fuzzer: the first byte says whether it is put right.
    cdef bytes whole
    if size < 1:
        return 0
    whole = data[1:size]
    if data[0] & 1 and len(whole) >= 12:
        whole = whole[:8] + sctp.packet_checksum(whole).to_bytes(4, "little") + whole[12:]
    value = parsed(sctp.parse_packet, whole, len(whole), SCTP_REASONS)
    if value is not None and [chunk.serialize() for chunk in sctp.parse_packet(rewritten(value)).chunks] != [
        chunk.serialize() for chunk in value.chunks
    ]:
        raise AssertionError(value)
    parsed(sctp.parse_init, whole, len(whole), SCTP_REASONS)
    return 0
