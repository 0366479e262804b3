"""What the page says when a call fails: in plain words, from the server and from the browser."""

import os
import signal
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.person import Person
from tests.daemons import Server, wait_for

TOKEN = "a-token-of-the-browser-tests"
# Loopback, so no packet leaves the machine, but not an address that relayd is bound to.
NOBODY = "127.0.0.99"
EXTRA = """
[ice]
never_checked_ms = 6500
"""


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    """A server that asks for a token and advertises an address where nobody listens."""
    server = Server(extra=EXTRA)
    text = server.config.read_text().replace('advertise = ["127.0.0.1"]', f'advertise = ["{NOBODY}"]')
    text = text.replace("[signalling]\n", f'[signalling]\nauth = "tokens"\ntokens = ["{TOKEN}"]\n')
    server.config.write_text(text)
    try:
        server.start("relayd")
        server.start("transceiverd")
        server.await_ready()
        yield server
    finally:
        server.close()


@pytest.fixture
def stranger(browser: Browser) -> Iterator[Person]:
    """Somebody who has opened nothing yet."""
    context = browser.new_context()
    person = Person(context.new_page())
    yield person
    context.close()
    person.forgive_refusals()
    assert person.complaints == []


@pytest.mark.parametrize("script", ["app.js", "statistics.js"])
def test_page_whose_scripts_do_not_come_says_so_and_offers_no_call(
    server: Server, stranger: Person, script: str
) -> None:
    """The story: the network changed while the page was loading. It said "Asking the server…" for ever, above a button
    that did nothing."""
    stranger.page.route(f"**/{script}", lambda route: route.abort())
    stranger.page.goto(server.url)
    assert stranger.page.locator("#readiness").inner_text() == "Loading…"
    assert stranger.state() == "Loading… Stuck? Reload the page."
    expect(stranger.page.get_by_role("button", name="Call")).to_be_disabled()
    assert [words.partition(":")[0] for words in stranger.complaints] == ["Failed to load resource"]
    stranger.complaints.clear()
    stranger.page.unroute(f"**/{script}")
    stranger.open(server.url)
    assert stranger.state() == "Ready to call"
    assert stranger.page.locator("#readiness").inner_text() == "Server ready"


def test_page_without_javascript_says_so_where_the_button_is(browser: Browser, server: Server) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server.url)
    expect(page.locator(".noscript")).to_be_in_viewport()
    expect(page.locator(".noscript")).to_contain_text("JavaScript, which is switched off")
    expect(page.get_by_role("button", name="Call")).to_be_disabled()
    context.close()


def test_page_without_a_path_shows_the_servers_reason_and_then_the_end(strict: Server, stranger: Person) -> None:
    stranger.open(f"{strict.url}/#token={TOKEN}")
    stranger.choose("Test tone")
    stranger.press()
    stranger.await_report("Still looking for a path")
    assert f"is UDP {strict.udp_port} blocked" in stranger.report()
    stranger.await_report("No path to the server")
    assert f"is UDP {strict.udp_port} blocked" in stranger.report()
    assert stranger.state() == "The call failed"
    assert "no_stun" in strict.log.read_text(), "the same stands in the log"


def test_page_without_a_token_asks_for_one_and_goes_on_with_it(strict: Server, stranger: Person) -> None:
    stranger.open(strict.url)
    stranger.choose("Test tone")
    stranger.press()
    stranger.await_report("The server wants a token")
    stranger.page.get_by_label("Access token").fill(TOKEN)
    stranger.page.get_by_role("button", name="Use it").click()
    stranger.await_state("Looking for a path…")
    assert len(strict.sessions()) == 1
    stranger.press()
    wait_for(lambda: not strict.sessions(), "hanging up carries the token")


def test_page_with_a_wrong_token_says_what_the_server_says(strict: Server, stranger: Person) -> None:
    stranger.open(f"{strict.url}/#token=not-a-token-of-this-server")
    stranger.press()
    stranger.await_report("The bearer token is not one of this server's.")


def test_page_says_that_the_server_is_not_ready(strict: Server, stranger: Person) -> None:
    stranger.open(f"{strict.url}/#token={TOKEN}")
    strict.stop("relayd")
    try:
        wait_for(lambda: not strict.ready(), "the relay is gone")
        stranger.choose("Test tone")
        stranger.press()
        stranger.await_report("The server is not ready for calls")
        assert "relayd is not attached" in stranger.report().lower()
        stranger.page.reload()
        stranger.await_that(
            lambda: "Not ready" in stranger.page.locator("#readiness").inner_text(), "the header says it, too"
        )
    finally:
        strict.start("relayd")
        strict.await_ready()


@pytest.mark.parametrize(
    ("error", "title"),
    [
        ("NotAllowedError", "The microphone was refused"),
        ("NotFoundError", "There is no microphone"),
        ("NotReadableError", "The microphone cannot be opened"),
    ],
)
def test_page_without_a_microphone_offers_the_tone(server: Server, stranger: Person, error: str, title: str) -> None:
    stranger.page.add_init_script(
        f"navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', '{error}'))"
    )
    stranger.open(server.url)
    stranger.press()
    stranger.await_report(title)
    assert "send the test tone" in stranger.report()
    assert server.sessions() == []
    stranger.choose("Test tone")
    stranger.press()
    stranger.await_connected()
    assert stranger.report() == ""


def test_page_says_that_the_call_was_hung_up_at_the_server(server: Server, person: Person) -> None:
    person.choose("Test tone")
    person.press()
    person.await_connected()
    (session,) = server.sessions()
    urllib.request.urlopen(f"{server.calls_url}/{session['call_id']}/hangup", data=b"", timeout=5).close()
    person.await_report("The call was hung up at the server")
    assert person.state() == "Call ended"


def test_page_notices_that_its_transceiver_died_and_the_next_call_works(server: Server, person: Person) -> None:
    person.choose("Test tone")
    person.press()
    person.await_connected()
    (transceiver,) = (pid for name, pid in server.pids("transceiverd").items() if "trans" in name)
    os.kill(transceiver, signal.SIGKILL)
    person.await_report("The server knows this call no more")
    server.await_ready()
    person.press()
    person.await_connected()
    person.forgive_refusals()


@pytest.mark.system  # a whole server only to stop it
def test_page_says_that_the_server_ended_the_call_when_it_is_stopped(stranger: Person) -> None:
    """A good-bye reaches the page by DTLS before the server is gone; then nobody can be asked why."""
    server = Server()
    try:
        server.start("relayd")
        server.start("transceiverd")
        server.await_ready()
        stranger.open(server.url)
        stranger.choose("Test tone")
        stranger.press()
        stranger.await_connected()
        assert server.stop("transceiverd") == 0
        stranger.await_report("The server")
        assert stranger.state() == "Call ended"
        stranger.complaints = [words for words in stranger.complaints if "ERR_CONNECTION" not in words]
    finally:
        server.close()
