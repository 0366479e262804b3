"""The relay worker: the packet loop of one CPU, compiled and without the GIL. The supervisor's contract is this file.

How the supervisor's child uses it (one process a worker, forked, pinned, predecessor reaped):

    worker = Worker(index, (fd4, fd6), flows, counters, keys, machine=machine)  # in the process that will run it
    for lane in lanes: worker.attach_lane(lane)
    while True:
        worker.run(control_fd)      # no GIL inside; comes back when control_fd is readable
        ... read one message from control_fd: attach_lane / detach / set_keys / leave
"""

from relayd.check_gate import CheckGate
from relayd.ufrag import UfragKeys
from shm.lane import Lane
from shm.segment import Segment

class Worker:
    index: int

    def __init__(
        self,
        index: int,
        sockets: tuple[int, int],
        flows: Segment,
        counters: Segment,
        keys: UfragKeys,
        *,
        machine: int,
        batch: int = 64,
        gate: CheckGate | None = None,
    ) -> None:
        """`sockets` are (fd of the v4 socket, fd of the V6ONLY v6 socket), -1 for none; they are not closed here.

        The sockets carry IP_PKTINFO / IPV6_RECVPKTINFO, SO_RXQ_OVFL, IP_RECVTOS / IPV6_RECVTCLASS and O_NONBLOCK.
        `counters` was made with the names of `worker_counter_names()`; ValueError when it was not. ValueError also for
        a batch outside 1 to 1024, OSError for a descriptor that is no socket. Make one in the process that will run it,
        once its predecessor has been reaped. `gate`: the bounds on checks; None: no bounds.
        """

    def attach_lane(self, lane: Lane) -> None:
        """Serve this lane from now on; it replaces an earlier lane of the same transceiver.

        The Lane's descriptors must stay open until `detach`. ValueError: its rings make no sense.
        """

    def detach(self, transceiver: int) -> None:
        """Forget the transceiver's lane. Its flows count as absent from now on. Unknown: nothing happens."""

    def set_keys(self, keys: UfragKeys) -> None:
        """Verify ufrags under these keys from now on."""

    def run(self, control_fd: int) -> None:
        """Forward packets until `control_fd` is readable (or at its end). The message is left for the caller to read.

        The first call takes over from a predecessor: repairs the flow table, books `lost_in_restart` and `lost_bound`.
        A signal whose Python handler raises ends it with that exception. OSError: `control_fd` cannot be waited for.
        """

    @staticmethod
    def worker_counter_names() -> tuple[str, ...]:
        """The counters that a worker's segment must have, in order."""

def worker_counter_names() -> tuple[str, ...]:
    """The same, for callers that hold no Worker."""
