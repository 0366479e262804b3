"""SNAP with Chromium: both INITs travel in the SDP, and no INIT, COOKIE or their answers cross the wire."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright

from tests.browser.chromium import ARGUMENTS, EXECUTABLE
from tests.browser.person import Person
from tests.browser.test_chromium_channels import CALL, ECHO, HANG_UP
from tests.daemons import Server, running, wait_for

INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK, DATA = 1, 2, 10, 11, 0
COMMON_HEADER = 12


@pytest.fixture(scope="module")
def snap_browser(playwright: Playwright) -> Iterator[Browser]:
    """Chromium with the field trial on."""
    trial = "--force-fieldtrials=WebRTC-Sctp-Snap/Enabled/"
    browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=[*ARGUMENTS, trial])
    yield browser
    browser.close()


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Path]]:
    """A server that writes down every SCTP packet."""
    record = tmp_path / "sctp"
    monkeypatch.setenv("RINGLINE_TEST_SCTP_RECORD", str(record))
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    with running(python=("-m", "tests.browser.recording")) as server:
        yield server, record


def _chunk_types(record: Path) -> set[int]:
    types = set()
    for line in record.read_text().splitlines():
        packet = bytes.fromhex(line.split()[1])
        at = COMMON_HEADER
        while at + 4 <= len(packet):
            types.add(packet[at])
            at += (int.from_bytes(packet[at + 2 : at + 4], "big") + 3) & ~3
    return types


def test_chromium_snap_opens_its_channels_without_an_init_exchange(
    snap_browser: Browser, recording: tuple[Server, Path]
) -> None:
    server, record = recording
    person = Person(snap_browser.new_page())
    person.open(server.url)
    placed = person.page.evaluate(CALL, "balanced")
    assert "a=sctp-init:" in placed["offer"]
    assert "a=sctp-init:" in placed["answer"]
    assert person.page.evaluate(ECHO) == [7, 7]
    types = _chunk_types(record)
    assert not types & {INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK}
    assert len(types) > 1  # data and its acknowledgements did cross
    assert person.page.evaluate(HANG_UP, placed["location"]) == 200
    wait_for(lambda: not server.sessions(), "the call is gone")


def test_chromium_snap_absent_the_ordinary_handshake_is_seen(person: Person, recording: tuple[Server, Path]) -> None:
    server, record = recording
    person.open(server.url)
    placed = person.page.evaluate(CALL, "balanced")
    assert "a=sctp-init:" not in placed["offer"]
    person.page.evaluate(ECHO)
    assert _chunk_types(record) >= {INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK}
    assert person.page.evaluate(HANG_UP, placed["location"]) == 200
