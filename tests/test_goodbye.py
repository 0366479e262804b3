"""The goodbyes of a transceiver that stops: at their pace, each once, all of them."""

from tests.bottle import Bottle
from transceiverd.engine import MILLISECOND, SECOND
from transceiverd.goodbye import Goodbyes


def _bottle(calls: int) -> Bottle:
    bottle = Bottle(slots=calls)
    for _ in range(calls):
        bottle.create()
    return bottle


def test_goodbyes_are_said_at_their_pace_the_first_at_once() -> None:
    bottle = _bottle(5)
    goodbyes = Goodbyes(bottle.calls)
    assert not goodbyes.work(SECOND), "nobody has begun"
    goodbyes.begin("shutdown", 10.0, SECOND)
    said = []
    for step in range(10):
        more = goodbyes.work(SECOND + step * 50 * MILLISECOND)
        said.append(len(bottle.ended))
    assert said == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert not more
    assert {end["closed_reason"] for end in bottle.ended} == {"shutdown"}


def test_goodbyes_without_a_pace_are_said_at_once_also_when_they_had_one() -> None:
    bottle = _bottle(3)
    goodbyes = Goodbyes(bottle.calls)
    goodbyes.begin("shutdown", 0.1, SECOND)
    assert goodbyes.work(SECOND)
    goodbyes.begin("shutdown", 0.0, SECOND)
    assert not goodbyes.work(SECOND)
    assert len(bottle.ended) == 3
