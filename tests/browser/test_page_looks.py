"""How the page looks: fits every screen, is legible in both schemes, and names its controls.

With RINGLINE_PICTURES set to a folder, a picture of each is kept there, for people to look at.
"""

import os
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import ViewportSize

from tests.browser.person import Person

PICTURES = os.environ.get("RINGLINE_PICTURES")
SCREENS: dict[str, ViewportSize] = {
    "small-phone": {"width": 320, "height": 640},
    "phone": {"width": 390, "height": 844},
    "tablet": {"width": 768, "height": 1024},
    "desktop": {"width": 1280, "height": 900},
}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
FROM_FAR_AWAY: dict[str, Any] = {
    "call_id": "rtc_AAAAnQ23456789abcdefghijk",
    "state": "closing",
    "stuck_in": "ice",
    "failed": True,
    "age_ms": 15_000,
    "phases": {"answered": 0, "first_check": None, "closed": 15_000},
    "client_address": "2001:db8:1234:5678:9abc:def0:1234:5678",
    "answered": ["10.0.0.5:3478"],
    "addresses": [],
    "advice": [
        {
            "code": "private_answer",
            "message": "you come from the public address 2001:db8:1234:5678:9abc:def0:1234:5678 but were answered with"
            " 10.0.0.5: set `advertise` to the public address of this server",
        },
        {"code": "no_stun", "message": "no STUN in 15 s: is UDP 3478 blocked between the client and this server?"},
    ],
    "closed_reason": "never checked",
    "candidates_offered": 0,
    "dtls": {"version": None, "role": "client"},
    "media": {},
    "drops": {"auth": 0},
}
CONTRAST_LEAST = 4.5  # WCAG 2.2, 1.4.3, level AA for text

# The ratio of each text's colour to the next opaque background below it.
CONTRASTS = """() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgb = colour => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = ([r, g, b]) => {
        const [R, G, B] = [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * R + 0.7152 * G + 0.0722 * B;
    };
    const background = element => {
        for (let each = element; each; each = each.parentElement) {
            const colour = rgb(getComputedStyle(each).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return [255, 255, 255, 255];
    };
    const found = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!own || !element.checkVisibility()) continue;
        const pair = [rgb(getComputedStyle(element).color), background(element)].map(luminance).sort((a, b) => b - a);
        found.push([element.textContent.trim().slice(0, 40), (pair[0] + 0.05) / (pair[1] + 0.05)]);
    }
    return found;
}"""

NAMELESS = """() => [...document.querySelectorAll('button, input, canvas, [role]')]
    .filter(each => each.checkVisibility())
    .filter(each => !(each.textContent.trim() || each.ariaLabel || each.labels?.length
        || each.getAttribute('aria-labelledby')))
    .map(each => each.outerHTML)"""


def test_page_looks_right_on_every_screen(person: Person) -> None:
    _check(person, "idle")
    person.choose("Test tone")
    person.press()
    person.await_heard(440)
    person.page.locator("summary").click()
    person.await_that(lambda: person.page.locator("#loss").inner_text() != "–", "numbers")
    if PICTURES:
        person.page.wait_for_timeout(20_000)  # lines to look at
    _check(person, "call")


def test_page_looks_right_with_a_report(person: Person) -> None:
    """The server's diagnosis is put in its mouth: of a client far away, which no test on loopback can be."""
    person.page.route("**/diagnosis", lambda route: route.fulfill(json=FROM_FAR_AWAY))
    person.choose("Test tone")
    person.press()
    person.await_report("No path to the server")
    for advice in FROM_FAR_AWAY["advice"]:
        assert advice["message"].lower().replace("`", "") in person.report().lower()
    person.page.locator("summary").click()
    _check(person, "report")


def _check(person: Person, name: str) -> None:
    page = person.page
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        for screen, size in SCREENS.items():
            page.set_viewport_size(size)
            page.evaluate("() => new Promise(requestAnimationFrame)")
            if PICTURES:
                page.screenshot(path=Path(PICTURES) / f"{name}-{scheme}-{screen}.png", full_page=True)
            wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide == 0, f"scrolls sideways on {screen}"
        faint = [each for each in page.evaluate(CONTRASTS) if each[1] < CONTRAST_LEAST]
        assert faint == [], f"hard to read in the {scheme} scheme"
    assert page.evaluate(NAMELESS) == []
