"""Chromium's own offers beyond the page's: with a data channel, which is rejected for now while audio works."""

import pytest

from tests.browser.person import Person
from tests.daemons import Server, wait_for

CALL = """async (policy) => {
    const peer = window.peer = new RTCPeerConnection({bundlePolicy: policy});
    const outlet = new AudioContext().createMediaStreamDestination();
    const oscillator = new OscillatorNode(outlet.context);
    oscillator.connect(outlet);
    oscillator.start();
    peer.addTrack(outlet.stream.getTracks()[0]);
    window.channel = peer.createDataChannel('oai-events');
    await peer.setLocalDescription();
    const offer = peer.localDescription.sdp;
    const reply = await fetch('/v1/realtime/calls', {
        method: 'POST', body: offer, headers: {'Content-Type': 'application/sdp'},
    });
    const answer = await reply.text();
    await peer.setRemoteDescription({type: 'answer', sdp: answer});
    return {offer, answer, status: reply.status, location: reply.headers.get('Location')};
}"""

RECEIVED = """async () => [...(await peer.getStats()).values()]
    .find(each => each.type === 'inbound-rtp')?.packetsReceived ?? 0"""


@pytest.mark.parametrize("policy", ["balanced", "max-bundle", "max-compat"])
def test_chromium_offer_with_a_data_channel_has_audio_and_a_rejected_section(
    person: Person, server: Server, policy: str
) -> None:
    placed = person.page.evaluate(CALL, policy)
    assert placed["status"] == 201
    assert "m=application 9 UDP/DTLS/SCTP webrtc-datachannel" in placed["offer"]
    assert "m=application 0 UDP/DTLS/SCTP webrtc-datachannel" in placed["answer"]
    person.await_that(lambda: person.page.evaluate(RECEIVED) > 10, "audio comes back")
    assert person.page.evaluate("peer.connectionState") == "connected"
    assert person.page.evaluate("channel.readyState") == "closed"
    status = person.page.evaluate(
        "location => fetch(location + '/hangup', {method: 'POST'}).then(reply => reply.status)", placed["location"]
    )
    assert status == 200
    wait_for(lambda: not server.sessions(), "the call is gone")
