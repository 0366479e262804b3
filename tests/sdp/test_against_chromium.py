"""Our answers against Chromium: its own offers, with and without data channels, and its setRemoteDescription."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, sync_playwright

from tests.sdp.offers import identity, negotiated
from transceiverd.sdp.answer import build_answer

CHROMIUM = "/usr/bin/chromium"

OFFER = """async ({audio, data, video, policy}) => {
    window.peer = new RTCPeerConnection({bundlePolicy: policy});
    const stream = await navigator.mediaDevices.getUserMedia({audio: true, video});
    if (audio === 'sendrecv') stream.getTracks().forEach(track => peer.addTrack(track, stream));
    else peer.addTransceiver('audio', {direction: audio});
    if (data) window.channel = peer.createDataChannel('oai-events');
    await peer.setLocalDescription();
    return peer.localDescription.sdp;
}"""

ANSWER = """async (sdp) => {
    await peer.setRemoteDescription({type: 'answer', sdp});
    const result = {
        state: peer.signalingState,
        directions: peer.getTransceivers().map(each => each.currentDirection),
        channel: window.channel ? channel.readyState : null,
        tracks: peer.getReceivers().map(each => each.track.kind),
    };
    peer.close();
    window.channel = null;
    return result;
}"""

CASES = [
    {"audio": "sendrecv", "data": False, "video": False, "policy": "balanced"},
    {"audio": "sendrecv", "data": True, "video": False, "policy": "balanced"},
    {"audio": "sendrecv", "data": True, "video": True, "policy": "max-bundle"},
    {"audio": "sendrecv", "data": True, "video": True, "policy": "max-compat"},
    {"audio": "recvonly", "data": True, "video": False, "policy": "balanced"},
    {"audio": "sendonly", "data": False, "video": False, "policy": "balanced"},
]

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page with a microphone, in a secure context, without a network."""
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        page = browser.new_page()

        def blank(route: Route) -> None:
            route.fulfill(body="<p>test", content_type="text/html")

        page.route("http://localhost/**", blank)
        page.goto("http://localhost/")
        yield page
        browser.close()


@pytest.mark.parametrize("data_channels", [False, True])
@pytest.mark.parametrize("case", CASES, ids=[json.dumps(case) for case in CASES])
def test_chromium_accepts_the_answer(page: Page, case: dict[str, object], data_channels: bool) -> None:
    negotiation = negotiated(page.evaluate(OFFER, case), data_channels=data_channels)
    result = page.evaluate(ANSWER, build_answer(negotiation, identity()))
    assert result["state"] == "stable"
    assert result["directions"][0] == case["audio"]
    if case["video"]:
        assert result["directions"][1:] == [], "a rejected section stops its transceiver"
    if case["data"]:
        assert result["channel"] == ("connecting" if data_channels else "closed")


def test_chromium_accepts_the_tagged_section_rejected(page: Page) -> None:
    """m=application first in the BUNDLE group and rejected: the audio section takes the transport over."""
    case = {"audio": "sendrecv", "data": True, "video": False, "policy": "balanced"}
    offer = page.evaluate(OFFER, case).replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 1 0")
    negotiation = negotiated(offer)
    assert negotiation.bundle == ("0",)
    assert page.evaluate(ANSWER, build_answer(negotiation, identity()))["state"] == "stable"
