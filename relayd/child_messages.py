"""What the supervisor and a running worker process tell each other over their private socket pair.

One JSON message a SOCK_SEQPACKET datagram, descriptors beside it. Encoded by children.py and child.py and by nobody
else. One end forks the other, so both are one release; only while an upgrade swaps the workers (children.py) a
supervisor may speak to older ones, hence fields are only added, with defaults.
"""

import array
import os
import socket

import msgspec

# A message is a few words; a lane brings four descriptors (shm/lane.pyx).
MESSAGE_BYTES_MAX = 4096
DESCRIPTORS_MAX = 8


class AttachLane(msgspec.Struct, tag=True, frozen=True):
    """To the worker, with the lane's descriptors: serve it from now on."""

    transceiver: int


class DetachLane(msgspec.Struct, tag=True, frozen=True):
    """To the worker: forget the lane of this transceiver."""

    transceiver: int


class LoadKeys(msgspec.Struct, tag=True, frozen=True):
    """To the worker: read the key file again and answer with KeysLoaded."""

    path: str


class SetLogLevel(msgspec.Struct, tag=True, frozen=True):
    """To the worker: log from this level up."""

    level: str


class Leave(msgspec.Struct, tag=True, frozen=True):
    """To the worker: end now, between two batches."""


class KeysLoaded(msgspec.Struct, tag=True, frozen=True):
    """From the worker: it verifies ufrags under these keys (id to fingerprint)."""

    fingerprints: dict[int, str]


ToWorker = AttachLane | DetachLane | LoadKeys | SetLogLevel | Leave

_encoder = msgspec.json.Encoder()
_to_worker = msgspec.json.Decoder(ToWorker)
_from_worker = msgspec.json.Decoder(KeysLoaded)


def encode(message: ToWorker | KeysLoaded) -> bytes:
    """The datagram of a message, without its descriptors."""
    return _encoder.encode(message)


def receive_from_supervisor(sock: socket.socket) -> tuple[ToWorker, list[int]] | None:
    """The next message and its descriptors, which are the caller's; None at the supervisor's end."""
    data, ancillary, _flags, _address = sock.recvmsg(MESSAGE_BYTES_MAX, socket.CMSG_SPACE(4 * DESCRIPTORS_MAX))
    if not data:
        return None
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    for fd in fds:
        os.set_inheritable(fd, False)
    return _to_worker.decode(data), list(fds)


def decode_from_worker(data: bytes) -> KeysLoaded:
    """A worker's message."""
    return _from_worker.decode(data)
