"""The `[relay]` section of the configuration file, and the impossible combinations in it.

Read by main.py through shm/daemon, which checks types and bounds and names file, key, what was found and what is
allowed. What ends in "Reload." is taken by a reload; the rest needs a restart of relayd, which no call notices for
longer than its transceiver needs to attach again.
"""

import ipaddress
from typing import Annotated

import msgspec
from msgspec import Meta

SOCKET_NAME = "relayd.sock"


class Relay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The relay: public UDP port, workers, and who may attach."""

    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="UDP port that clients send to, in IPv4 and IPv6. 0: any free one. The default is STUN's."
            " Restart.",
        ),
    ] = 3478

    port_search: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="How many further ports above `port` to try when it is taken. 0: refuse to start. Restart.",
        ),
    ] = 0

    bind4: Annotated[
        str,
        Meta(
            description="IPv4 address to listen on; empty: no IPv4. 0.0.0.0: all there are. Restart.",
        ),
    ] = "0.0.0.0"

    bind6: Annotated[
        str,
        Meta(
            description="IPv6 address to listen on; empty: no IPv6. ::, all there are; a machine without IPv6 is "
            "a warning. Restart.",
        ),
    ] = "::"

    workers: Annotated[
        int,
        Meta(
            ge=0,
            le=256,
            description="Worker processes. 0: one for each CPU that relayd may use. More than CPUs share them in "
            "turn. Restart.",
        ),
    ] = 0

    cpus: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=4095)], ...],
        Meta(
            description="CPUs to pin workers to, in this order. Empty: all that relayd may use. Restart.",
        ),
    ] = ()

    spread_above_percent: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="How busy the workers that get packets may be, in percent of their time, before more of them "
            "get some. At light load all packets go to one worker: a wake-up brings more of them, and the transceiver's"
            " media thread runs on the same CPU. The default leaves room for that thread and for a burst. 0: always"
            " all workers, as the kernel spreads them. Reload.",
        ),
    ] = 50

    batch: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description="Packets a worker takes from the kernel in one call. More saves system calls at full load"
            " only, and is what a worker's death can lose. Restart.",
        ),
    ] = 64

    nice: Annotated[
        int,
        Meta(
            ge=-20,
            le=19,
            description="Nice value of the workers. Below that of the processes that set calls up, so that dialling "
            "delays no packet; not so low that a flood of packets keeps everybody from being set up: -5 is three "
            "times the weight. Where it is not allowed they run as they are, which is logged. Restart.",
        ),
    ] = -5

    receive_buffer_bytes: Annotated[
        int,
        Meta(
            ge=65536,
            le=1 << 30,
            description="Kernel receive buffer of each socket; what waits there survives a worker. The kernel "
            "doubles it, and a voice packet takes about 830 of that. The default holds half a second "
            "of 10,000 packets/s. Restart.",
        ),
    ] = 4 << 20

    flow_table_entries: Annotated[
        int,
        Meta(
            ge=1024,
            le=1 << 24,
            description="Client addresses each worker can know, 128 bytes each; rounded up to a power of two. "
            "Every worker knows all calls. With the default 10,000 calls with 3 addresses each stay "
            "at half load. Restart.",
        ),
    ] = 65536

    checks_per_second: Annotated[
        int,
        Meta(
            ge=16,
            le=1_000_000,
            description="Checks (STUN Binding requests with a true ufrag) from addresses that are not yet their call's,"
            " which each worker passes on in a second; half of it is kept for calls that had fewer than two. Default:"
            " a fraction of what one transceiver answers, and more than 200 set-ups a second bring. Restart.",
        ),
    ] = 4000

    checks_per_second_slot: Annotated[
        int,
        Meta(ge=4, le=1_000_000, description="Of these for one call. Browsers send 20 to 50 a second. Restart."),
    ] = 100

    checks_per_second_flow: Annotated[
        int,
        Meta(
            ge=4,
            le=1_000_000,
            description="Checks from one of a call's own addresses that each worker passes on in a second. Ten times"
            " what any client sends; a flood from there reaches no other address. Restart.",
        ),
    ] = 500

    stuck_after_ms: Annotated[
        int,
        Meta(
            ge=100,
            le=60000,
            description="A worker that has work and makes no turn for so long is killed and replaced; waiting for a CPU"
            " does not count. Reload.",
        ),
    ] = 1000

    restart_burst: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="Deaths of one worker within `restart_window_ms` that are answered at once; later ones "
            "with a growing delay (50 ms doubling up to 5 s). Reload.",
        ),
    ] = 5

    restart_window_ms: Annotated[
        int,
        Meta(
            ge=1000,
            le=3600000,
            description="The window in which `restart_burst` counts. Reload.",
        ),
    ] = 10000

    peers: Annotated[
        tuple[str, ...],
        Meta(
            description="Users (names or uids) that may use the control socket besides root and relayd's own "
            "user. Reload.",
        ),
    ] = ()

    group: Annotated[
        str,
        Meta(
            description="Group that owns the control socket and whose members may use it, too. Empty: that "
            "of a runtime directory which root made for a group (setgid, as installed), else relayd's own and nobody "
            "else. Restart.",
        ),
    ] = ""

    connections: Annotated[
        int,
        Meta(
            ge=2,
            le=1000,
            description="Connections to the control socket at once; transceiverd holds one, every relayctl one. "
            "Reload.",
        ),
    ] = 32

    def __post_init__(self) -> None:
        """Refuse what does not go together, by ValueError."""
        if not self.bind4 and not self.bind6:
            raise ValueError("bind4 and bind6 are both empty: there is no address to listen on")
        for key, text, version in (("bind4", self.bind4, 4), ("bind6", self.bind6, 6)):
            if text and not _is_address(text, version):
                raise ValueError(f"{key}: found {text!r}, allowed are IPv{version} addresses, or empty for none")
        if len(set(self.cpus)) != len(self.cpus):
            raise ValueError(f"cpus: found {list(self.cpus)}, where a CPU appears twice; use workers to share CPUs")


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False
