"""What a transceiver tells signalling about its calls (`transceiverd/desk.py`)."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tests.bottle import Bottle
from transceiverd import desk, links
from transceiverd.desk import SESSIONS_A_PAGE, Desk
from transceiverd.links import ListSessions, SessionList
from transceiverd.signalling.router import CallSnapshot

TOLD: dict[str, object] = {"answered_addresses": ["192.0.2.1"], "answered_port": 3478}


class _Link:
    """Of the signalling process: what it was sent."""

    def __init__(self, _end: object, on_message: Any, _on_closed: object) -> None:
        self.on_message = on_message
        self.sent: list[links.Message] = []

    def send(self, message: links.Message) -> None:
        self.sent.append(message)


@pytest.fixture
def bottle() -> Bottle:
    return Bottle(slots=4 * SESSIONS_A_PAGE)


def _pages(bottle: Bottle, told: dict[str, object] | None, monkeypatch: pytest.MonkeyPatch) -> list[SessionList]:
    monkeypatch.setattr(desk, "Link", _Link)
    transceiver: Any = SimpleNamespace(
        calls=bottle.calls, attached=True, leaving=False, finish=lambda: None,
        birth=SimpleNamespace(settings=SimpleNamespace(transceiver=SimpleNamespace(slots=256))),
    )  # fmt: skip
    served = Desk(transceiver)
    served.use(None)  # type: ignore[arg-type]
    (link,) = served._links
    pages: list[SessionList] = []
    while not pages or pages[-1].next_slot >= 0:
        link.on_message(ListSessions(7, pages[-1].next_slot if pages else 0, told), [])  # type: ignore[attr-defined]
        reply = link.sent[-1]  # type: ignore[attr-defined]
        assert isinstance(reply, SessionList)
        pages.append(reply)
    return pages


@pytest.mark.parametrize("calls", [0, 1, SESSIONS_A_PAGE, SESSIONS_A_PAGE + 1, 3 * SESSIONS_A_PAGE])
def test_desk_lists_every_call_once_in_pages_of_text(
    calls: int, bottle: Bottle, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [bottle.create()[0].call_id for _ in range(calls)]
    pages = [page.sessions for page in _pages(bottle, TOLD, monkeypatch)]
    assert all(isinstance(page, bytes) for page in pages)
    rows = [row for page in pages for row in msgspec.json.decode(page, type=list[CallSnapshot])]  # type: ignore[arg-type]
    assert sorted(row.call_id for row in rows) == sorted(ids)
    assert all(row.answered_port == 3478 for row in rows)


def test_desk_lists_plain_values_for_a_signalling_process_that_tells_nothing(
    bottle: Bottle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that counts the calls which its predecessor placed, or is of an older release."""
    created, _ = bottle.create()
    (page,) = _pages(bottle, None, monkeypatch)
    assert isinstance(page.sessions, list)
    assert [row["call_id"] for row in page.sessions] == [created.call_id]
    assert links.decode(links.encode(page)) == page
