"""Calls from the page: tone and microphone, hanging up, reloading, again and again."""

from tests.browser.chromium import MICROPHONE_HERTZ
from tests.browser.person import PHASES, Person
from tests.daemons import Server, wait_for

TONE_HERTZ = 440


def test_page_call_with_the_test_tone_hears_it_and_times_every_phase(person: Person, server: Server) -> None:
    person.choose("Test tone")
    person.press()
    person.await_connected()
    person.await_heard(TONE_HERTZ)
    assert tuple(person.setup_milliseconds()) == PHASES
    assert person.page.locator("#ice").inner_text() == "connected"
    assert person.page.locator("#dtls").inner_text() == "connected"
    assert len(server.sessions()) == 1
    assert person.report() == ""


def test_page_call_with_the_microphone_hears_what_the_microphone_hears(person: Person) -> None:
    person.press()
    person.await_connected()
    person.await_heard(MICROPHONE_HERTZ)


def test_page_call_shows_path_encryption_and_live_numbers(person: Person, server: Server) -> None:
    person.choose("Test tone")
    person.press()
    for name in ("path", "cipher", "round-trip", "jitter", "loss"):
        person.await_that(lambda name=name: person.page.locator(f"#{name}").inner_text() != "–", f"{name} is shown")
    assert str(server.udp_port) in person.page.locator("#path").inner_text()
    assert "DTLS 1.2" in person.page.locator("#cipher").inner_text()
    person.page.locator("summary").click()
    person.await_that(lambda: "proven" in person.page.locator("#server-facts").inner_text(), "the server's view")
    label = person.page.locator("#round-trip-graph").get_attribute("aria-label") or ""
    assert label.startswith("Round-trip time: ")
    assert "ms" in label


def test_page_call_hang_up_ends_it_on_the_server(person: Person, server: Server) -> None:
    person.choose("Test tone")
    for _ in range(3):
        person.press()
        person.await_connected()
        assert len(server.sessions()) == 1
        person.press()
        person.await_state("Call ended")
        wait_for(lambda: not server.sessions(), "the call is gone")
    assert person.report() == ""


def test_page_call_reload_ends_the_call_and_the_next_one_works(person: Person, server: Server) -> None:
    person.choose("Test tone")
    person.press()
    person.await_connected()
    person.page.reload()
    wait_for(lambda: not server.sessions(), "the page hung up when it went")
    assert person.state() == "Ready to call"
    person.press()  # the choice was kept
    person.await_connected()
    person.await_heard(TONE_HERTZ)
    assert len(server.sessions()) == 1


def test_page_call_source_changes_in_the_middle(person: Person, server: Server) -> None:
    person.choose("Test tone")
    person.press()
    person.await_heard(TONE_HERTZ)
    person.choose("Microphone")
    person.await_heard(MICROPHONE_HERTZ)
    person.choose("Test tone")
    person.await_heard(TONE_HERTZ)
    assert len(server.sessions()) == 1


def test_page_call_by_keyboard_alone(person: Person) -> None:
    keyboard = person.page.keyboard
    keyboard.press("Tab")
    keyboard.press("ArrowRight")
    keyboard.press("Tab")
    keyboard.press("Tab")
    keyboard.press("Enter")
    person.await_heard(TONE_HERTZ)
    keyboard.press("Enter")
    person.await_state("Call ended")


ECHO_DELAY = """async () => {
    const {Sound} = await import('/sound.js');
    const sound = new Sound(new Audio());
    sound.delay(true);
    sound.prepare();
    const context = sound.sent.context;
    const oscillator = new OscillatorNode(context);
    const outlet = context.createMediaStreamDestination();
    oscillator.connect(outlet);
    oscillator.connect(sound.sent);
    sound.play(outlet.stream);
    oscillator.start();
    const samples = new Float32Array(sound.sent.fftSize);
    const began = async (tap) => {
        do {
            await new Promise(resolve => setTimeout(resolve, 5));
            tap.getFloatTimeDomainData(samples);
        } while (!samples.some(sample => sample !== 0));
        return context.currentTime;
    };
    const sent = await began(sound.sent);
    const heard = await began(sound.heard);
    sound.rest();
    return heard - sent;
}"""


def test_page_echo_after_a_second_is_a_second_of_audio_later(person: Person) -> None:
    person.page.locator("h1").click()  # a browser makes sound only on a page that was touched
    seconds = person.page.evaluate(ECHO_DELAY)
    assert 0.9 < seconds < 2.0  # of the audio clock; polling and the stream's own buffer only add
