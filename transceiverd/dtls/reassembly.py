"""Whole handshake messages, in order, out of fragments in any order (RFC 6347 section 4.2.3).

Called by the handshake, so that OpenSSL is given each message once, whole and in its turn: its own reassembly, its
memory for it and its reactions to repetitions are then out of a peer's reach.

Operations: add a fragment; take the messages whose turn has come. Goal: memory bounded by declared lengths, before
anything is allocated; work linear in what arrives. Plan: one buffer and one map of covered bytes per message; messages
that came whole need neither.
"""

import msgspec

from shm.errors import MalformedPacket
from transceiverd.dtls.messages import Fragment

# Messages ahead of the next one that are kept. The longest flight has six (Certificate to Finished).
AHEAD_MAX = 8


class _Partial:
    """A message of which something is missing."""

    __slots__ = ("buffer", "covered", "length", "message_type")

    def __init__(self, fragment: Fragment) -> None:
        self.message_type = fragment.message_type
        self.length = fragment.length
        self.buffer = bytearray(fragment.length)
        self.covered = bytearray(fragment.length)

    def add(self, fragment: Fragment) -> bool:
        """Put the fragment in its place; whether the message is whole now."""
        if (fragment.message_type, fragment.length) != (self.message_type, self.length):
            raise MalformedPacket("handshake fragment conflicts")
        end = fragment.offset + len(fragment.body)
        self.buffer[fragment.offset : end] = fragment.body
        self.covered[fragment.offset : end] = b"\1" * len(fragment.body)
        return 0 not in self.covered


class MessageReassembly:
    """The peer's handshake messages."""

    __slots__ = ("_bytes_held", "_bytes_max", "_message_bytes_max", "_partial", "_whole", "next_sequence")

    def __init__(self, message_bytes_max: int, bytes_max: int) -> None:
        self.next_sequence = 0  # of the message that `take` would give next
        self._message_bytes_max = message_bytes_max
        self._bytes_max = bytes_max
        self._bytes_held = 0  # by declared length
        self._partial: dict[int, _Partial] = {}
        self._whole: dict[int, Fragment] = {}

    @property
    def bytes_held(self) -> int:
        """Bytes of all messages held, by their declared lengths."""
        return self._bytes_held

    def add(self, fragment: Fragment) -> bool:
        """Keep the fragment; whether it repeats a message that was taken before.

        Raises MalformedPacket: "handshake message too far ahead", "handshake message too long",
        "handshake reassembly full", "handshake fragment conflicts".
        """
        sequence = fragment.message_sequence
        if sequence < self.next_sequence:
            return True
        if sequence >= self.next_sequence + AHEAD_MAX:
            raise MalformedPacket("handshake message too far ahead")
        if fragment.length > self._message_bytes_max:
            raise MalformedPacket("handshake message too long")
        if sequence not in self._whole:
            self._add_missing(fragment)
        return False

    def _add_missing(self, fragment: Fragment) -> None:
        sequence = fragment.message_sequence
        if len(fragment.body) == fragment.length:
            # It displaces pieces that somebody may have forged to be in its way, and in its turn it takes no room.
            if sequence in self._partial:
                self._bytes_held -= self._partial.pop(sequence).length
            if sequence != self.next_sequence:
                self._reserve(fragment.length)
            else:
                self._bytes_held += fragment.length
            self._whole[sequence] = fragment
            return
        partial = self._partial.get(sequence)
        if partial is None:
            self._reserve(fragment.length)
            partial = self._partial[sequence] = _Partial(fragment)
        if partial.add(fragment):
            del self._partial[sequence]
            self._whole[sequence] = msgspec.structs.replace(fragment, offset=0, body=bytes(partial.buffer))

    def _reserve(self, length: int) -> None:
        if self._bytes_held + length > self._bytes_max:
            raise MalformedPacket("handshake reassembly full")
        self._bytes_held += length

    def take(self) -> list[Fragment]:
        """The whole messages that are next, in order; each is given out once."""
        messages = []
        while (message := self._whole.pop(self.next_sequence, None)) is not None:
            self._bytes_held -= message.length
            self.next_sequence += 1
            messages.append(message)
        return messages
