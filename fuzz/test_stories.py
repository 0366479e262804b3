"""What the machine found, as stories: each was a bug once."""

from fuzz.session_world import World
from tests.bottle import Client
from transceiverd.dtls.engine import Role
from transceiverd.engine import SECOND
from transceiverd.session import State


def test_session_late_turn_has_dtls_deadline_and_consent_expiry_due_at_once() -> None:
    """A caller was checked and went away; the transceiver stood still for half a minute (a stopped machine).

    In the turn that came then, `no dtls` ended the call, and the expired consent was found behind it: a call that is
    closing was to fall silent, which raised out of the session.
    """
    world = World(1)
    created, call = world.create("active")
    client = Client(created, Role.SERVER)
    client.handle_timeout(world.now + SECOND)
    datagram = client.agent.poll_datagram()
    assert datagram is not None
    world.arrive(datagram.data, datagram.destination, check=True)
    assert call.session.state is State.CHECKED
    world.handle_timeout(world.now + 31 * SECOND)
    assert call.session.close_reason == "no dtls"
    world.check_books()
    assert world.sessions.used() == []
