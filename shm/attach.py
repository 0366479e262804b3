"""The messages with which transceiverd attaches to relayd, and how descriptors travel with them (DESIGN 2.7, 2.11).

Used by relayd's control socket, transceiverd's supervisor and `relayctl`. One message is one datagram of an AF_UNIX
SOCK_SEQPACKET connection: JSON with a `type`, and for some types descriptors (SCM_RIGHTS). The end of the connection
detaches everything that was offered on it.

A conversation: `Hello` → `Welcome` or `Refused`; then per lane `OfferLane`, per counter segment `OfferCounters`, each
answered by `Accepted` or `Refused`; then `Ready`. Later, at any time: `Withdraw`, `Incarnation`, `ConfirmKey`; and
unasked from relayd `WorkerReplaced`. An operator says `Hello` too and then asks `StatusRequest`.

Leaves out: sockets' paths, modes and retries, and who may connect: `peer_credentials` says who did.
"""

import array
import os
import socket
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from shm.errors import LayoutRefused
from shm.segment import SUPPORTED_MAJORS

# Bytes of one message. A SEQPACKET message must fit the send buffer, 212,992 bytes where nobody changed the default.
MESSAGE_MAX = 131_072

Index = Annotated[int, Meta(ge=0, le=255)]  # a worker or a transceiver
Incarnation64 = Annotated[int, Meta(ge=0)]  # 64 bits, compared for equality only
ShortText = Annotated[str, Meta(max_length=512)]


class Message(Struct, frozen=True, tag_field="type"):
    """Anything that is said on the control socket."""


class Hello(Message, frozen=True, tag="hello"):
    """First message of every connection: who speaks, and which layout majors it can make segments in."""

    role: Literal["transceiverd", "operator"]
    layouts: Annotated[list[int], Meta(max_length=16)]
    pid: int


class Welcome(Message, frozen=True, tag="welcome"):
    """The answer: the layout to use, and what ufrags and lanes have to fit."""

    layout: int
    workers: int
    worker_pids: list[int]
    machine: int
    key_ids: dict[int, str]  # ufrag key id → fingerprint of the key that relayd has under it
    port: int = 0  # UDP, for the candidates of answers
    bind4: ShortText = ""  # address that is listened on; empty: no IPv4
    bind6: ShortText = ""


class Refused(Message, frozen=True, tag="refused"):
    """What was asked is not done, and why."""

    reason: ShortText
    found: ShortText
    allowed: ShortText


class OfferLane(Message, frozen=True, tag="offer_lane"):
    """A lane for worker `worker`; four descriptors as `Lane.fds` has them."""

    transceiver: Index
    worker: Index
    incarnation: Incarnation64


class OfferCounters(Message, frozen=True, tag="offer_counters"):
    """A counter segment to show in the status; one descriptor."""

    owner: ShortText  # for people: "transceiver 0 control"
    transceiver: Index


class Withdraw(Message, frozen=True, tag="withdraw"):
    """This transceiver will not come back: give its lanes up."""

    transceiver: Index


class Incarnation(Message, frozen=True, tag="incarnation"):
    """A transceiver was started anew; its lanes say the same, this is for logs and status."""

    transceiver: Index
    incarnation: Incarnation64


class ConfirmKey(Message, frozen=True, tag="confirm_key"):
    """Do the workers verify ufrags under this key already? Asked before a call is minted under it."""

    key_id: Annotated[int, Meta(ge=0, le=3)]
    fingerprint: ShortText


class KeyConfirmed(Message, frozen=True, tag="key_confirmed"):
    """They do."""

    key_id: int


class Accepted(Message, frozen=True, tag="accepted"):
    """An offer or a withdrawal took effect; `what` names it for the log."""

    what: ShortText


class Ready(Message, frozen=True, tag="ready"):
    """Everything was offered; so many transceivers take calls."""

    transceivers: int


class StatusRequest(Message, frozen=True, tag="status_request"):
    """An operator asks for the state of the running system."""


class StatusReply(Message, frozen=True, tag="status_reply"):
    """Workers, transceivers, rings, flows, outcome counters."""

    status: dict[str, Any]


class WorkerReplaced(Message, frozen=True, tag="worker_replaced"):
    """A worker died and a new one has its sockets, table and lanes."""

    worker: int
    pid: int


AnyMessage = (
    Hello
    | Welcome
    | Refused
    | OfferLane
    | OfferCounters
    | Withdraw
    | Incarnation
    | ConfirmKey
    | KeyConfirmed
    | Accepted
    | Ready
    | StatusRequest
    | StatusReply
    | WorkerReplaced
)

# How many descriptors a message carries; all others carry none.
DESCRIPTORS: dict[type[Message], int] = {OfferLane: 4, OfferCounters: 1}
DESCRIPTORS_MAX = max(DESCRIPTORS.values())

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)


class MalformedMessage(ValueError):
    """The peer said something that is not a message; the connection is of no more use. `reason` is a fixed string."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class Credentials(NamedTuple):
    """Who is at the other end of a Unix socket, as the kernel saw it connect."""

    pid: int
    uid: int
    gid: int


def send(sock: socket.socket, message: AnyMessage, fds: Sequence[int] = ()) -> None:
    """Send one message with its descriptors, which stay open here.

    BlockingIOError: a non-blocking socket is full, nothing was sent. ValueError: too long, or the wrong descriptors.
    """
    if len(fds) != DESCRIPTORS.get(type(message), 0):
        raise ValueError(
            f"{type(message).__name__} carries {DESCRIPTORS.get(type(message), 0)} descriptors, not {len(fds)}"
        )
    data = _encoder.encode(message)
    if len(data) > MESSAGE_MAX:
        raise ValueError(f"{type(message).__name__} of {len(data)} bytes; allowed are {MESSAGE_MAX}")
    if fds:
        socket.send_fds(sock, [data], list(fds))
    else:
        sock.send(data)


def receive(sock: socket.socket) -> tuple[AnyMessage, list[int]]:
    """The next message and its descriptors, which are the caller's to close and are not inherited by an exec.

    EOFError: the peer closed. BlockingIOError: a non-blocking socket has nothing. MalformedMessage: what came along was
    closed.
    """
    # One descriptor more than allowed is asked for, so that a surplus is seen as one and not only as a truncation.
    # Not socket.recv_fds, which drops its flags in Python 3.11.
    space = socket.CMSG_LEN((DESCRIPTORS_MAX + 1) * array.array("i").itemsize)
    data, ancillary, flags, _ = sock.recvmsg(MESSAGE_MAX, space, socket.MSG_CMSG_CLOEXEC)
    fds = _descriptors(ancillary)
    try:
        return _checked(data, flags, len(fds)), fds
    except BaseException:
        close_all(fds)
        raise


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors that came along, whole ones only."""
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def _checked(data: bytes, flags: int, descriptors: int) -> AnyMessage:
    """The message in `data`, or the reason why it is none."""
    if not data:
        raise EOFError("the peer closed the connection")
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise MalformedMessage("too long")
    try:
        message = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage("not a message", str(error)) from None
    if descriptors != DESCRIPTORS.get(type(message), 0):
        raise MalformedMessage("wrong number of descriptors", f"{type(message).__name__} came with {descriptors}")
    return message


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors that nobody wants."""
    for fd in fds:
        os.close(fd)


def peer_credentials(sock: socket.socket) -> Credentials:
    """SO_PEERCRED of a connected Unix socket."""
    layout = struct.Struct("3i")
    return Credentials(*layout.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size)))


def common_layout(offered: Sequence[int], supported: Sequence[int] = SUPPORTED_MAJORS) -> int:
    """The highest layout major that both daemons speak. LayoutRefused names what either side has."""
    common = set(offered) & set(supported)
    if not common:
        raise LayoutRefused("layout majors", named(offered), named(supported))
    return max(common)


def named(majors: Sequence[int]) -> str:
    """For messages: "1", "1 and 2"."""
    return " and ".join(str(major) for major in sorted(majors)) or "none"
