"""One browser and one server for the whole folder: starting them costs seconds; a tab costs none."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.browser.chromium import EXECUTABLE, arguments, write_microphone
from tests.browser.person import Person
from tests.daemons import Server, running, wait_for


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """The driver; there can be only one at a time."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="package")
def browser(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Headless Chromium with a fresh profile, whose microphone hears a tone. `.ci/setup system` installs it."""
    microphone = tmp_path_factory.mktemp("browser") / "microphone.wav"
    write_microphone(microphone)
    browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=arguments(microphone))
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    """Both daemons; a test leaves no call behind."""
    with running() as started:
        yield started


@pytest.fixture
def person(browser: Browser, server: Server) -> Iterator[Person]:
    """Somebody with the page open, who at the end finds nothing on the console."""
    context = browser.new_context()
    person = Person(context.new_page())
    person.open(server.url)
    yield person
    # Away from the page first: a browser that is torn down sends no last request, and the call would live till consent
    # runs out.
    person.page.goto("about:blank")
    wait_for(lambda: not server.sessions(), "no call is left when the page is left")
    context.close()
    assert person.complaints == []
