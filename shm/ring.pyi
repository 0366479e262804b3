from shm.segment import Segment

Buffer = bytes | bytearray | memoryview

NO_FLOW: int

class Record:
    type: int
    hop_count: int
    flags: int
    worker: int
    flow_index: int
    flow_generation: int
    slot: int
    generation: int
    incarnation: int
    origin: int
    receive_time_ns: int
    not_before_ns: int
    drop_after_ns: int
    connection: int
    origin_machine: int
    segment_size: int
    traffic_class: int
    address_state: int
    key: bytes
    payload: bytes

class RingProducer:
    def __init__(self, segment: Segment, which: int) -> None: ...
    def write(
        self,
        type: int,
        key: Buffer,
        payload: Buffer,
        *,
        slot: int = 0,
        generation: int = 0,
        origin: int = 0,
        incarnation: int = 0,
        flags: int = 0,
        address_state: int = 0,
        worker: int = 0,
        traffic_class: int = 0,
        flow_index: int = ...,
        flow_generation: int = 0,
        receive_time_ns: int = 0,
    ) -> bool: ...
    @property
    def handle(self) -> int: ...
    def publish(self) -> None: ...

class RingConsumer:
    def __init__(self, segment: Segment, which: int, at_most_once: bool = False) -> None: ...
    def read(self, max: int) -> list[Record]: ...
    @property
    def handle(self) -> int: ...
    def copy(self, header: int, payload: int, payload_size: int) -> Record: ...
    def release(self) -> None: ...
    def pending(self) -> int: ...
