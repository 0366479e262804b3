"""The messages between transceiverd's own processes; `link.py` carries them.

The supervisor, the transceivers and the signalling process are joined by AF_UNIX SOCK_SEQPACKET pairs made by the
supervisor: one MessagePack message a datagram, descriptors beside it. Both ends are our own processes of one release,
so there is no negotiation here; the daemons' border is `shm/attach.py`.

    supervisor  <-> transceiver   lanes and life
    supervisor  <-> signalling    which transceivers there are
    signalling  <-> transceiver   calls
"""

import msgspec


class Message(msgspec.Struct, tag=True, frozen=True):
    """Base of everything that a link carries."""


# --------------------------------------------------------------- supervisor -> transceiver


class UseLane(Message, frozen=True):
    """One lane to a relay worker; descriptors in the order of `shm.lane.Lane.fds`."""

    worker: int


class DropLane(Message, frozen=True):
    """That relay worker is no more: the relay started again with fewer."""

    worker: int


class RelayAttached(Message, frozen=True):
    """The relay (again) holds our lanes: publish every flow again (DESIGN 2.7)."""


class RelayDetached(Message, frozen=True):
    """The relay is gone: nothing can be sent or answered."""


class UseKeys(Message, frozen=True):
    """Mint new calls under these keys: the relay has confirmed the current one. `keys` is a file as ufrag_keys.py
    writes it: by value, since the file itself may have gone on when this is read."""

    keys: bytes


class AskKeyUse(Message, frozen=True):
    """How many calls live under each ufrag key id?"""

    request: int


class KeyUse(Message, frozen=True):
    """The other way: the answer, without ids that have none."""

    request: int
    calls: dict[int, int]


class UseSettings(Message, frozen=True):
    """To transceivers and signalling: a reload. One descriptor, of the encoded settings (`settings.py`)."""

    version: int


class SettingsTaken(Message, frozen=True):
    """The other way: they are in use."""

    version: int


class UseSignalling(Message, frozen=True):
    """The socket of a new signalling process, as descriptor."""


class Leave(Message, frozen=True):
    """Take no new call; exit when the last one has ended."""


class Stop(Message, frozen=True):
    """End all calls with BYE and close_notify, so many a second (0: all at once), then exit. A second one may be
    faster. To signalling: answer what is in work, then exit."""

    reason: str
    calls_per_second: float = 0.0


class Taking(Message, frozen=True):
    """The other way: attached, and signalling has been told that calls are taken."""


class NeedSignalling(Message, frozen=True):
    """The other way: the link to signalling broke, a new one is wanted."""


# --------------------------------------------------------------- supervisor -> signalling


class Alive(Message, frozen=True):
    """The other way: the signalling process's loop turns."""


class UseTransceiver(Message, frozen=True):
    """The socket of a new transceiver process, and its control and media counters, as descriptors."""

    transceiver: int
    slots: int


class TransceiverGone(Message, frozen=True):
    """That process has ended."""

    transceiver: int


class Serving(Message, frozen=True):
    """The other way: the signalling process answers requests."""


class Draining(Message, frozen=True):
    """No new calls from now on, until this process ends; whoever asks shall come again after so many seconds."""

    retry_after: int


class RelayState(Message, frozen=True):
    """Whether the relay is attached, and the UDP port and the addresses it listens on."""

    attached: bool
    port: int = 0
    bind4: str = ""
    bind6: str = ""
    problem: str = ""
    """Why it is not attached."""


# --------------------------------------------------------------- signalling <-> transceiver


class CreateCall(Message, frozen=True):
    """Open a call. `negotiation` is an encoded `sdp.Negotiation`; the rest is who asks, as in `calls.Caller`."""

    request: int
    negotiation: bytes
    owner: str = ""
    address: str = ""
    dialect: str = "realtime"


class CallCreated(Message, frozen=True):
    """What the answer needs of the transceiver."""

    request: int
    call_id: str
    ufrag: str
    password: str
    fingerprint: str
    ssrc: int
    cname: str
    sctp_init: bytes | None = None


class CallRefused(Message, frozen=True):
    """No call was made. `code` is for the client, `retry_after` in seconds."""

    request: int
    code: str
    message: str
    retry_after: int = 0


class Hangup(Message, frozen=True):
    """End a call, if it was made with the token that `owner` names; `None` may end any."""

    request: int
    call_id: str
    reason: str = "hangup"
    owner: str | None = None


class HangupDone(Message, frozen=True):
    """Whether there was such a call."""

    request: int
    found: bool


class Snapshot(Message, frozen=True):
    """Ask for what is known about one call; also about one that ended a short while ago."""

    request: int
    call_id: str


class SnapshotReply(Message, frozen=True):
    """`snapshot` is `None` when the call is not known."""

    request: int
    snapshot: dict[str, object] | None


class ListSessions(Message, frozen=True):
    """Ask for one line about each call, in pages.

    `told`: what signalling alone knows, and every line shall say too; the lines then come as text.
    """

    request: int
    first_slot: int = 0
    told: dict[str, object] | None = None


class SessionList(Message, frozen=True):
    """One page; `next_slot` is -1 on the last. As bytes: a JSON array, as HTTP will have it. A transceiver of an older
    release never heard of that."""

    request: int
    sessions: list[dict[str, object]] | bytes
    next_slot: int


class CallEnded(Message, frozen=True):
    """A call has ended; all that was known of it."""

    snapshot: dict[str, object]


class Load(Message, frozen=True):
    """Sent by a transceiver several times a second: the router picks by it, and its silence means stuck."""

    calls: int
    slots_free: int
    accepting: bool


class Unknown(Message, frozen=True):
    """Of a newer release, which stands beside this one during an upgrade: ignored."""


AnyMessage = (
    Unknown
    | UseLane
    | DropLane
    | NeedSignalling
    | Taking
    | Alive
    | RelayAttached
    | RelayDetached
    | UseKeys
    | AskKeyUse
    | KeyUse
    | UseSettings
    | SettingsTaken
    | UseSignalling
    | Leave
    | Stop
    | UseTransceiver
    | TransceiverGone
    | RelayState
    | Serving
    | Draining
    | CreateCall
    | CallCreated
    | CallRefused
    | Hangup
    | HangupDone
    | Snapshot
    | SnapshotReply
    | ListSessions
    | SessionList
    | CallEnded
    | Load
)


class _Tagged(msgspec.Struct):
    """Of any message, the part that says which it is."""

    type: str


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyMessage)
_tags = msgspec.msgpack.Decoder(_Tagged)
_KNOWN = {kind.__name__ for kind in AnyMessage.__args__}


def encode(message: Message) -> bytes:
    """The datagram of a message, without its descriptors."""
    return _encoder.encode(message)


def decode(data: bytes | memoryview) -> AnyMessage:
    """The message of a datagram; `Unknown` for one of another release. Raises msgspec.DecodeError when it is none."""
    try:
        message: AnyMessage = _decoder.decode(data)
    except msgspec.ValidationError:
        if _tags.decode(data).type in _KNOWN:
            raise
        return Unknown()
    return message
