"""What keeping the state of data channels outside of the process costs: CPU time for a message, with and without.

    python bench/kept_channels.py [--messages 3000] [--rounds 5]

The server's side of one call in memory: SCTP packet in, echo, packets out, state encoded and written into the call's
blob in a real session segment. Rounds interleave; median and spread are printed. The peer's time is not counted.
"""

import argparse
import statistics
import time

from shm.session import SessionSegment
from tests.bottle import negotiation
from tests.data_client import data_negotiation
from tests.sctp.peers import association
from transceiverd.blob import BlobWriter
from transceiverd.data_transport import DataTransport
from transceiverd.echo_channels import EchoChannels
from transceiverd.engine import MILLISECOND, SECOND, Drops
from transceiverd.sctp.buffers import SharedBuffers


def run(messages: int, size: int, *, keeping: bool) -> float:
    """Microseconds for a message."""
    segment = SessionSegment.create(1, 0)
    slot = segment.allocate(1)
    assert slot is not None
    blob = BlobWriter.create(segment.record(slot), negotiation(data=data_negotiation()), "u" * 30, "p" * 24, None, ())
    client = association("client")
    call = DataTransport(EchoChannels(association("server", 1)), SharedBuffers(1 << 26), Drops())
    now, spent = SECOND, 0
    client.start(now)
    call.start(now)
    out: list[bytes] = []
    stream_id = client.open_channel("oai-events")
    for number in range(messages + 10):
        if number >= 10:
            client.send(stream_id, bytes(size), True, now)
        for _ in range(3):
            now += MILLISECOND
            client.handle_timeout(now)
            packets = []
            while (packet := client.poll_datagram()) is not None:
                packets.append(packet)
            start = time.process_time_ns()
            for packet in packets:
                call.receive(packet, now)
                call.work(lambda data, _now: out.append(data), now)
                if keeping:
                    kept = call.keep(blob.room(b""))
                    if kept is not None:
                        blob.write(b"", kept)
            spent += time.process_time_ns() - start
            for packet in out:
                client.receive_datagram(packet, now)
            out.clear()
            while client.poll_event() is not None:
                pass
    assert call.channels.echoed == messages
    return spent / messages / 1000


def main() -> None:
    """Prints one line a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for size in (100, 1000):
        found: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(options.rounds):
            for keeping in (False, True):
                found[keeping].append(run(options.messages, size, keeping=keeping))
        for keeping, times in found.items():
            middle, low, high = statistics.median(times), min(times), max(times)
            print(f"{size} B, {'kept' if keeping else 'not kept'}: {middle:.1f} us ({low:.1f}-{high:.1f})")


if __name__ == "__main__":
    main()
