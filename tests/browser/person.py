"""Somebody who uses the call page: presses, reads, waits. Reads only what a person sees or a screen reader says."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from playwright.sync_api import ConsoleMessage, Page, expect

SECONDS = 15.0  # generous: the machine is shared, and a test that passes does not wait
# What a refusing response leaves in the console by itself, whatever the page does about it.
REFUSED = re.compile(r"Failed to load resource: the server responded with a status of (401|404|503)")
PHASES = ("Offer", "Signalling", "ICE", "DTLS", "First audio")


@dataclass
class Person:
    """One tab."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.set_default_timeout(SECONDS * 1000)

    def _heard(self, message: ConsoleMessage) -> None:
        """Violations of the content security policy are errors on the console, too."""
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, url: str) -> None:
        """Go to the page; it has started and looked at the server when this returns."""
        self.page.goto(url)
        expect(self.page.locator("#call")).to_be_enabled(timeout=SECONDS * 1000)
        expect(self.page.locator("#readiness")).not_to_have_text("Asking the server…", timeout=SECONDS * 1000)

    def choose(self, words: str) -> None:
        """Microphone, Test tone, At once, After a second."""
        self.page.get_by_role("radio", name=words).check()

    def press(self) -> None:
        """Call, or hang up."""
        self.page.locator("#call").click()

    def state(self) -> str:
        """The words of the state."""
        return self.page.locator("#state").inner_text()

    def await_state(self, words: str) -> None:
        """Until the page says so."""
        expect(self.page.locator("#state")).to_have_text(words, timeout=SECONDS * 1000)

    def await_connected(self) -> None:
        """Until audio has come back."""
        self.await_state("Connected")

    def await_heard(self, hertz: float, within: float = 10.0) -> None:
        """Until the page recognises a tone of about `hertz` in what comes back."""
        self.await_that(lambda: abs((self.heard_hertz() or 0) - hertz) <= within, f"{hertz} Hz heard")

    def heard_hertz(self) -> int | None:
        """The frequency that the page's analyser finds in the received sound."""
        found = re.search(r"(\d+) Hz", self.page.locator("#heard-reading").inner_text())
        return int(found[1]) if found else None

    def setup_milliseconds(self) -> dict[str, float]:
        """Each phase of the set-up that the page has timed."""
        items = self.page.locator("#setup-phases li").all_inner_texts()
        pairs = [item.split("\n") for item in items]
        return {label: _milliseconds(value) for label, value in pairs if value != "–"}

    def report(self) -> str:
        """Everything that the page says about a failure."""
        card = self.page.locator("#report")
        return card.inner_text() if card.is_visible() else ""

    def await_report(self, words: str) -> None:
        """Until the report holds these words."""
        expect(self.page.locator("#report")).to_contain_text(words, timeout=SECONDS * 1000)

    def await_that(self, condition: Callable[[], object], what: str) -> None:
        """Poll with the page's own clock running."""
        for _ in range(int(SECONDS * 20)):
            if condition():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"not within {SECONDS} s: {what}; the page says {self.state()!r}, {self.report()!r}")

    def forgive_refusals(self) -> None:
        """The test made the server refuse something: that is on the console, and no fault of the page."""
        self.complaints = [words for words in self.complaints if not REFUSED.match(words)]


def _milliseconds(text: str) -> float:
    number, unit = text.split()
    return float(number) * (1000 if unit == "s" else 1)
