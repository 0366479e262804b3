"""What a call was is freed with its last reference: a transceiver's control thread looks for cycles seldom
(`transceiverd/collection.py`), and set-ups that left some would pile them up between two looks.
"""

import asyncio
import gc

import pytest

from tests.bottle import Bottle, Client
from tests.link import Endpoint, Link
from transceiverd.collection import begin_collection
from transceiverd.dtls.engine import Role

ROLES = {"active": Role.SERVER, "passive": Role.CLIENT}


@pytest.mark.parametrize("setup", ROLES)
def test_call_that_has_ended_is_freed_without_a_search_for_cycles(setup: str) -> None:
    bottle = Bottle()
    gc.collect()
    gc.disable()
    try:
        created, call = bottle.create(setup)
        client = Client(created, ROLES[setup])
        wire = Link(Endpoint(client, client.receive), Endpoint(bottle, bottle.receive))
        client.talking = True
        assert wire.run(lambda: len(client.heard) >= 5, 10)
        parts = [call, call.owner, call.session, call.session.agent, call.session.dtls, call.session.blob]
        watched = {(id(part), type(part)) for part in parts}
        bottle.calls.close(call, "hangup", wire.now)
        bottle.turn()
        del call, parts
        left = [type(each).__name__ for each in gc.get_objects() if (id(each), type(each)) in watched]
        assert not left
    finally:
        gc.enable()


def test_old_objects_are_not_gone_through_while_calls_are_made() -> None:
    """The story: while calls were dialled, the control thread stood still for every quarter that there were more."""
    looks: list[int] = []

    def note(phase: str, what: dict[str, int]) -> None:
        looks.extend([what["generation"]] if phase == "stop" else [])

    async def dial() -> None:
        begin_collection()
        bottle = Bottle(slots=6000)
        gc.callbacks.append(note)
        for _ in range(6000):
            bottle.create()

    usual = gc.get_threshold()
    try:
        asyncio.run(dial())
    finally:
        gc.callbacks.remove(note)
        gc.set_threshold(*usual)
        gc.unfreeze()
    assert 1 in looks
    assert 2 not in looks
