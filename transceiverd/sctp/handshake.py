"""INIT, INIT ACK, COOKIE ECHO, COOKIE ACK, and SNAP's way around them (RFC 9260 5; draft-hancke-tsvwg-snap).

Functions on the association. Both WebRTC peers send an INIT as soon as DTLS is up, so that the collision of two INITs
(5.2.1, 5.2.2, 5.2.4 D) is the common case. An INIT is answered without remembering anything; a cookie that comes back
is judged by the table of 5.2.4.
"""

from typing import TYPE_CHECKING

from transceiverd.sctp import chunks, cookie
from transceiverd.sctp.chunks import CookieEcho, ErrorChunk, Init, Signal
from transceiverd.sctp.cookie import Cookie
from transceiverd.sctp.errors import STALE_COOKIE, Refused
from transceiverd.sctp.initiation import (
    STATE_COOKIE,
    STREAMS,
    Features,
    features_of,
    new_init,
    our_parameters,
    unrecognized,
)
from transceiverd.sctp.states import State

if TYPE_CHECKING:
    from transceiverd.sctp.association import Association

WAITING = (State.CLOSED, State.COOKIE_WAIT, State.COOKIE_ECHOED)


def begin(association: "Association", now: int) -> None:
    """DTLS is up: count as established by the INITs that the SDP carried, or send ours."""
    if association.state is not State.CLOSED:
        return
    remote = association.remote_init
    if remote is not None and association.has_local_init:
        adopt(association, remote.tag, remote.initial_tsn, remote.window, remote.inbound_streams, features_of(remote))
        association.establish(now)
        return
    association.move(State.COOKIE_WAIT)
    send_init(association, now)


def send_init(association: "Association", now: int) -> None:
    """INIT alone in its packet, with tag 0 (5.1 A, 8.5.1)."""
    association.send_packet(0, association.local_init.serialize())
    association.t1 = now + association.rto.value


def on_timeout(association: "Association", now: int) -> None:
    """T1 ran out."""
    association.t1_count += 1
    if association.t1_count > association.config.init_retransmits_max:
        association.finish("init unanswered")
        return
    association.rto.back_off()
    if association.state is State.COOKIE_WAIT:
        send_init(association, now)
    else:
        association.cookie_due = True
        association.t1 = now + association.rto.value


def adopt(association: "Association", tag: int, tsn: int, window: int, streams: int, features: Features) -> None:
    """What the peer said of itself."""
    association.peer_tag = tag
    association.peer_streams = min(streams, STREAMS)
    association.features = features
    association.prepare(tsn, window)


def on_init(association: "Association", init: Init, now: int) -> None:
    """Answer an INIT with all that we would have to remember, in a cookie (5.1 B, 5.2.1, 5.2.2)."""
    if association.state is State.SHUTDOWN_ACK_SENT:
        association.control.append(Signal(chunks.SHUTDOWN_ACK).serialize())  # 9.2
        return
    ours, ties = association.local_init, (0, 0)
    if association.state not in WAITING:
        ours = new_init(association.config, association.random_bytes)
        ties = (association.local_tag, association.peer_tag)
    made = Cookie(
        created=max(now, 0),
        local_tag=ours.tag,
        local_tsn=ours.initial_tsn,
        peer_tag=init.tag,
        peer_tsn=init.initial_tsn,
        peer_window=init.window,
        peer_streams=init.inbound_streams,
        features=features_of(init).pack(),
        tie_local=ties[0],
        tie_peer=ties[1],
    )
    parameters = (
        (STATE_COOKIE, cookie.seal(made, association.cookie_key)),
        *our_parameters(association.config),
        *unrecognized(init),
    )
    association.send_packet(init.tag, ours._replace(parameters=parameters, ack=True).serialize())


def on_init_ack(association: "Association", init: Init, now: int) -> None:
    """Our INIT was answered: give the cookie back (5.1 C)."""
    if association.state is not State.COOKIE_WAIT:
        raise Refused("init-ack-unexpected")
    given = next((value for kind, value in init.parameters if kind == STATE_COOKIE), None)
    if given is None:
        raise Refused("init-ack-without-cookie")
    adopt(association, init.tag, init.initial_tsn, init.window, init.inbound_streams, features_of(init))
    association.cookie_echo = CookieEcho(given).serialize()
    association.cookie_due = True
    association.t1_count = 0
    association.t1 = now + association.rto.value
    association.move(State.COOKIE_ECHOED)


def on_cookie_echo(association: "Association", echo: CookieEcho, tag: int, now: int) -> None:
    """A cookie came back: the table of 5.2.4 decides."""
    given = cookie.unseal(echo.cookie, association.cookie_key)
    if tag != given.local_tag:
        raise Refused("tag-wrong")
    local, peer = given.local_tag == association.local_tag, given.peer_tag == association.peer_tag
    if now - given.created > cookie.LIFETIME and not (local and peer):
        late = (now - given.created - cookie.LIFETIME) // 1_000  # in microseconds, 3.3.10.3
        cause = (STALE_COOKIE, min(late, 0xFFFFFFFF).to_bytes(4, "big"))
        association.send_packet(given.peer_tag, ErrorChunk((cause,)).serialize())
        raise Refused("cookie-stale")
    if association.state in WAITING:
        if not local:
            raise Refused("cookie-tag")  # 5.2.4 C, or a cookie of an association that is gone
        adopt_cookie(association, given)
        association.establish(now)
    elif not local and not peer and (given.tie_local, given.tie_peer) == (association.local_tag, association.peer_tag):
        restart(association, given, now)  # 5.2.4 A
    elif not (local and peer):
        raise Refused("cookie-tag")
    association.control.append(Signal(chunks.COOKIE_ACK).serialize())


def adopt_cookie(association: "Association", given: Cookie) -> None:
    """Take the peer's side from a cookie, unless the INIT ACK gave us the same already."""
    if association.state is State.COOKIE_ECHOED and association.peer_tag == given.peer_tag:
        return
    features = Features.unpack(given.features)
    adopt(association, given.peer_tag, given.peer_tsn, given.peer_window, given.peer_streams, features)


def restart(association: "Association", given: Cookie, now: int) -> None:
    """The peer lost its association and made a new one (5.2.4.1): ours starts anew too, all channels are gone."""
    if association.state in (State.SHUTDOWN_RECEIVED, State.SHUTDOWN_SENT, State.SHUTDOWN_ACK_SENT):
        raise Refused("cookie-in-shutdown")
    association.renew(given.local_tag, given.local_tsn)
    features = Features.unpack(given.features)
    adopt(association, given.peer_tag, given.peer_tsn, given.peer_window, given.peer_streams, features)
    association.establish(now)


def on_cookie_ack(association: "Association", now: int) -> None:
    """Our cookie was taken (5.1 E); in any other state it is ignored (5.2.5)."""
    if association.state is State.COOKIE_ECHOED:
        association.establish(now)


def on_stale_cookie(association: "Association") -> None:
    """Our cookie came too late: give up (5.2.6 allows it); after a minute no caller is waiting."""
    if association.state is State.COOKIE_ECHOED:
        association.finish("cookie stale")


__all__ = ["begin", "on_cookie_ack", "on_cookie_echo", "on_init", "on_init_ack", "on_stale_cookie", "on_timeout"]
