# cython: language_level=3, annotation_typing=False
"""Fragments put together to messages, and messages put in order (RFC 9260 6.5, 6.6, 6.9; RFC 8260 2.2; RFC 3758 3.6).

Called by `reception.py` for every DATA or I-DATA chunk that is new. A message that is still incomplete is a list of
*runs*: stretches of fragments without a hole. A fragment's position is its TSN (DATA) or its fragment number (I-DATA);
runs of one message, or of all unordered DATA of a stream, lie under one key. A run with both ends is a message. The
common case, a whole message that is next in order, touches none of it.
"""

from transceiverd.sctp.chunks import FLAG_BEGIN, FLAG_END, Data
from transceiverd.sctp.errors import ProtocolViolation
from transceiverd.sctp.serial import unwrap16, unwrap32

FRAGMENT_COST = 64  # bytes that holding a fragment costs besides its data: keeps one-byte fragments from being cheap

Message = tuple[int, int, bytes]  # stream id, PPID, data


class Run:
    """Fragments of one message at positions `first` to `last`, none missing."""

    __slots__ = ("begins", "ends", "first", "last", "parts", "ppid", "size")

    def __init__(self, position: int, chunk: Data) -> None:
        self.first = position
        self.last = position
        self.begins = chunk.begins
        self.ends = chunk.ends
        self.ppid = chunk.ppid
        self.parts = [chunk.payload]
        self.size = len(chunk.payload)

    @classmethod
    def restore(cls, first: int, last: int, begins: bool, ends: bool, ppid: int, parts: list[bytes]) -> "Run":
        """A run as it was saved."""
        run = cls(first, Data(0, 0, 0, ppid, b"", FLAG_BEGIN * begins | FLAG_END * ends))
        run.last = last
        run.parts = parts
        run.size = sum(len(part) for part in parts)
        return run

    def extend(self, chunk: Data) -> None:
        """Append the fragment that follows."""
        self.last += 1
        self.ends = chunk.ends
        self.parts.append(chunk.payload)
        self.size += len(chunk.payload)

    def join(self, other: "Run") -> None:
        """Append `other`, which follows without a hole."""
        self.last = other.last
        self.ends = other.ends
        self.parts += other.parts
        self.size += other.size

    def cost(self) -> int:
        """What holding it costs."""
        return self.size + FRAGMENT_COST * len(self.parts)


class InboundStream:
    """`next` is the sequence number that is next in order; the rest is there only while something waits."""

    __slots__ = ("next", "ready", "runs")

    def __init__(self) -> None:
        self.next = 0
        self.runs: dict[int, list[Run]] | None = None
        self.ready: dict[int, tuple[int, bytes]] | None = None


class Reassembly:
    """All streams of one direction. `held` is the cost of what waits, `messages` what is complete, in order."""

    __slots__ = ("held", "max_message", "messages", "streams", "streams_max")

    def __init__(self, max_message: int, streams_max: int) -> None:
        self.max_message = max_message
        self.streams_max = streams_max
        self.held = 0
        self.streams: dict[int, InboundStream] = {}
        self.messages: list[Message] = []

    def add(self, chunk: Data, tsn: int) -> bool:
        """Take a new fragment; False if it belongs to a message that was delivered or skipped before."""
        stream = self.streams.get(chunk.stream_id)
        if stream is None:
            stream = self.streams[chunk.stream_id] = InboundStream()
        unordered = chunk.unordered
        sequence = self.sequence(stream, chunk, unordered)
        if not unordered and sequence < stream.next:
            return False
        if chunk.begins and chunk.ends:
            self.complete(stream, chunk.stream_id, sequence, unordered, chunk.ppid, chunk.payload)
            return True
        key = sequence << 1 | unordered
        self.insert(stream, chunk, key, sequence, chunk.fragment if chunk.interleaved else tsn)
        return True

    def sequence(self, stream: InboundStream, chunk: Data, unordered: bool) -> int:
        """The message's place in its stream; unordered DATA has none and unordered I-DATA has its own numbers."""
        if unordered:
            return chunk.sequence if chunk.interleaved else 0
        if chunk.interleaved:
            return unwrap32(chunk.sequence, stream.next)
        return unwrap16(chunk.sequence, stream.next)

    def insert(self, stream: InboundStream, chunk: Data, key: int, sequence: int, position: int) -> None:
        """Put a fragment among the runs of its message."""
        if stream.runs is None:
            stream.runs = {}
        runs = stream.runs.get(key)
        if runs is None:
            runs = stream.runs[key] = []
        self.held += len(chunk.payload) + FRAGMENT_COST
        if runs and not chunk.begins:
            run = runs[len(runs) - 1]
            if run.last + 1 == position and not run.ends:  # nearly all: the next fragment of the last run
                run.extend(chunk)
                self.judge(stream, chunk, key, sequence, runs, len(runs) - 1)
                return
        run = Run(position, chunk)
        index = len(runs)
        while index and runs[index - 1].first > position:
            index -= 1
        if index < len(runs) and self.follows(run, runs[index]):
            run.join(runs[index])
            del runs[index]
        if index and self.follows(runs[index - 1], run):
            index -= 1
            runs[index].join(run)
            run = runs[index]
        else:
            runs.insert(index, run)
        self.judge(stream, chunk, key, sequence, runs, index)

    def follows(self, run: Run, later: Run) -> bool:
        """Whether `later` goes on where `run` stops, within one message."""
        return run.last + 1 == later.first and not run.ends and not later.begins

    def judge(self, stream: InboundStream, chunk: Data, key: int, sequence: int, runs: list[Run], index: int) -> None:
        """What came of run `index`: a message, too long a message, or nothing yet."""
        run = runs[index]
        if run.size > self.max_message:
            raise ProtocolViolation("message-too-long")
        if run.begins and index and runs[index - 1].last + 1 == run.first and not runs[index - 1].ends:
            # A new message starts where an old one never ended: its sender gave that up.
            self.held -= runs[index - 1].cost()
            del runs[index - 1]
        if not (run.begins and run.ends):
            return
        self.held -= run.cost()
        runs.remove(run)
        if not runs and stream.runs is not None:
            del stream.runs[key]
            stream.runs = stream.runs or None
        self.complete(stream, chunk.stream_id, sequence, bool(key & 1), run.ppid, b"".join(run.parts))

    def complete(
        self, stream: InboundStream, stream_id: int, sequence: int, unordered: bool, ppid: int, data: bytes
    ) -> None:
        """A whole message: deliver it, or let it wait for those before it."""
        if len(data) > self.max_message:
            raise ProtocolViolation("message-too-long")
        if unordered:
            self.messages.append((stream_id, ppid, data))
        elif sequence == stream.next:
            stream.next += 1
            self.messages.append((stream_id, ppid, data))
            if stream.ready is not None:
                self.deliver_ready(stream, stream_id)
        else:
            if stream.ready is None:
                stream.ready = {}
            if sequence not in stream.ready:
                stream.ready[sequence] = (ppid, data)
                self.held += len(data) + FRAGMENT_COST

    def deliver_ready(self, stream: InboundStream, stream_id: int) -> None:
        """Deliver what waited and is now next."""
        ready = stream.ready or {}
        while (message := ready.pop(stream.next, None)) is not None:
            stream.next += 1
            self.held -= len(message[1]) + FRAGMENT_COST
            self.messages.append((stream_id, *message))
        stream.ready = ready or None

    def skip(self, stream_id: int, sequence: int, unordered: bool, interleaved: bool) -> None:
        """Messages up to `sequence` on a stream will not come any more (RFC 3758 3.6, RFC 8260 2.3.2)."""
        stream = self.streams.get(stream_id)
        if stream is None:
            if len(self.streams) >= self.streams_max:
                return
            stream = self.streams[stream_id] = InboundStream()
        if unordered:
            self.drop_runs(stream, [key for key in stream.runs or () if key & 1 and key >> 1 <= sequence])
            return
        last = unwrap32(sequence, stream.next) if interleaved else unwrap16(sequence, stream.next)
        self.drop_runs(stream, [key for key in stream.runs or () if not key & 1 and key >> 1 <= last])
        for waiting in sorted(key for key in stream.ready or () if key <= last):
            stream.next = waiting
            self.deliver_ready(stream, stream_id)
        stream.next = max(stream.next, last + 1)
        self.deliver_ready(stream, stream_id)

    def drop_runs(self, stream: InboundStream, keys: list[int]) -> None:
        """Forget incomplete messages."""
        for key in keys:
            assert stream.runs is not None
            self.held -= sum(run.cost() for run in stream.runs.pop(key))
        stream.runs = stream.runs or None

    def skip_unordered(self, tsn: int) -> None:
        """Unordered DATA at or before `tsn` that is not there by now will not come: drop what lacks its beginning."""
        for stream in self.streams.values():
            runs = (stream.runs or {}).get(1)
            if not runs:
                continue
            dead = [run for run in runs if run.first <= tsn and (not run.begins or run.last < tsn)]
            self.held -= sum(run.cost() for run in dead)
            kept = [run for run in runs if run not in dead]
            assert stream.runs is not None
            if kept:
                stream.runs[1] = kept
            else:
                del stream.runs[1]
                stream.runs = stream.runs or None

    def reset(self, stream_id: int) -> None:
        """The peer starts the stream anew (RFC 6525 5.2.2)."""
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self.drop_runs(stream, list(stream.runs or ()))
            self.held -= sum(len(data) + FRAGMENT_COST for _, data in (stream.ready or {}).values())
