"""A real process whose calls are made anew from their records while callers talk and send messages (DESIGN 2.13).

The simulated deaths are in `tests/test_call_rebuilt.py`; here rings, sockets, clocks and the media thread are real.
"""

import os
import random
import signal
import time

import pytest

from tests.daemons import running, wait_for
from tests.test_data_hostile import dropped
from tests.udp_caller import UdpCaller

pytestmark = pytest.mark.system

LAUNCHER = ("-m", "tests.system.instrumented_transceiverd")
REBUILDS = 25


@pytest.mark.parametrize("setup", ["actpass", "active"])
def test_rebuilt_channels_of_a_real_process_bring_every_message_once_and_no_packet_is_lost(setup: str) -> None:
    with (
        running(python=LAUNCHER, transceivers=1) as server,
        UdpCaller(server.calls_url, setup=setup, seed=3, data=True) as caller,
    ):
        caller.connect()
        client = caller.client
        ids = [client.association.open_channel(label) for label in ("events", "more")]
        sent: dict[int, list[bytes]] = {stream_id: [] for stream_id in ids}
        pid = server.pids("transceiverd")["transceiver0"]
        dice = random.Random(5)
        rebuilt = 0
        due = time.monotonic()

        def came() -> int:
            return sum(len(each) for each in client.received.values())

        while rebuilt < REBUILDS:
            number = sum(len(each) for each in sent.values())
            if number - came() < 4:
                stream_id = dice.choice(ids)
                data = b"%06d" % number + dice.randbytes(dice.choice((0, 100, 700)))
                assert client.association.send(stream_id, data, False, client.now)
                sent[stream_id].append(data)
            if time.monotonic() > due:
                os.kill(pid, signal.SIGRTMIN)
                rebuilt += 1
                due = time.monotonic() + 0.08
            caller.step(0.001)
        assert caller.run(lambda: came() == sum(len(each) for each in sent.values()), 10)
        assert client.received == sent
        assert caller.lost() == 0
        wait_for(lambda: server.log.read_text().count("instrumented: rebuilt 1 calls") == REBUILDS, "all took place")
        assert dropped(server, "sctp-state-lost") == 0
        assert dropped(server, "record-stale") == 0
