"""Floods: what a legitimate caller notices of a hostile mix, at rising shares of the worker's saturation.

    python -m bench.flood [--share 0.2]

Loopback only, seconds a step. The worker is held to a share of a CPU. For each step: checks answered, the slowest
answer, audio lost, and what the kernel threw away before the server saw it.
"""

import argparse
import contextlib

from bench.machine import describe
from tests.faults.flood_field import FloodField

STEPS = (0.25, 0.5, 0.9, 3.0)  # of saturation


def main() -> None:
    """All steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.02, help="of a CPU that the worker gets")
    share = parser.parse_args().share
    print(f"flood: {describe()}")
    with contextlib.closing(FloodField(share)) as field:
        most = field.saturation()
        print(f"worker at {share:.0%} of a CPU ({field.how}): saturated at {most:.0f} packets/s")
        for part in STEPS:
            one = field.step(part * most)
            print(
                f"  {part:.2f} x saturation, {one.rate:.0f}/s: checks answered {one.during.answered} of "
                f"{one.during.asked} ({one.during.share:.2%}, slowest {one.during.latest_ms:.0f} ms); audio lost "
                f"{one.audio_lost} of {one.audio_sent}, out of order {one.disordered}, calls lost {one.calls_lost}; "
                f"kernel dropped {one.kernel_dropped}, rings full {one.ring_full}; from a second after it: "
                f"{one.after.share:.2%} answered, {one.lost_after} audio lost",
                flush=True,
            )


if __name__ == "__main__":
    main()
