"""Chromium's data channels (dcSCTP) through the real daemons, while audio runs (RFC 8831, 8832)."""

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
    window.agreed = peer.createDataChannel('agreed', {negotiated: true, id: 100});
    await peer.setLocalDescription();
    const offer = peer.localDescription.sdp;
    const reply = await fetch('/v1/realtime/calls', {
        method: 'POST', body: offer, headers: {'Content-Type': 'application/sdp'},
    });
    const answer = await reply.text();
    await peer.setRemoteDescription({type: 'answer', sdp: answer});
    return {offer, answer, status: reply.status, location: reply.headers.get('Location')};
}"""

# Sends every message and resolves when all came back, as what they were.
ECHO = """async () => {
    const opened = each => each.readyState === 'open' ? null : new Promise(done => each.onopen = done);
    const lengths = [];
    for (const each of [channel, agreed]) {
        each.binaryType = 'arraybuffer';
        await opened(each);
        const messages = ['text', '', 'ü'.repeat(1000), new Uint8Array([1, 2, 3]).buffer, new ArrayBuffer(0),
                          new ArrayBuffer(262144), 'z'.repeat(262144)];
        const back = [];
        const all = new Promise(done => {
            each.onmessage = event => { back.push(event.data); if (back.length === messages.length) done(); };
        });
        messages.forEach(message => each.send(message));
        await all;
        messages.forEach((message, n) => {
            const same = typeof message === 'string' ? back[n] === message
                : new Uint8Array(back[n]).join() === new Uint8Array(message).join();
            if (!same) throw new Error(`message ${n} came back changed`);
        });
        lengths.push(back.length);
    }
    return lengths;
}"""

MANY = """async () => {
    const ids = [];
    for (let round = 0; round < 2; round++) {
        const channels = [];
        for (let n = 0; n < 100; n++) channels.push(peer.createDataChannel(`c${n}`));
        await Promise.all(channels.map(each => new Promise(done => each.onopen = done)));
        await Promise.all(channels.map((each, n) => new Promise(done => {
            each.onmessage = event => { if (event.data === `m${n}`) done(); };
            each.send(`m${n}`);
        })));
        ids.push(channels.map(each => each.id));
        await Promise.all(channels.map(each => new Promise(done => { each.onclose = done; each.close(); })));
    }
    return ids;
}"""

RECEIVED = """async () => [...(await peer.getStats()).values()]
    .find(each => each.type === 'inbound-rtp')?.packetsReceived ?? 0"""
HANG_UP = "location => fetch(location + '/hangup', {method: 'POST'}).then(reply => reply.status)"


@pytest.mark.parametrize("policy", ["balanced", "max-bundle", "max-compat"])
def test_chromium_channels_echo_every_kind_of_message_while_audio_runs(
    person: Person, server: Server, policy: str
) -> None:
    placed = person.page.evaluate(CALL, policy)
    assert placed["status"] == 201
    assert person.page.evaluate(ECHO) == [7, 7]
    person.await_that(lambda: person.page.evaluate(RECEIVED) > 10, "audio comes back")
    assert person.page.evaluate("peer.connectionState") == "connected"
    assert person.page.evaluate(HANG_UP, placed["location"]) == 200
    wait_for(lambda: not server.sessions(), "the call is gone")


def test_chromium_channels_hundred_are_opened_used_closed_and_their_ids_used_again(
    person: Person, server: Server
) -> None:
    placed = person.page.evaluate(CALL, "balanced")
    person.page.evaluate(ECHO)
    first, second = person.page.evaluate(MANY)
    assert len(set(first)) == 100
    assert sorted(first) == sorted(second)
    assert person.page.evaluate(HANG_UP, placed["location"]) == 200
    wait_for(lambda: not server.sessions(), "the call is gone")
