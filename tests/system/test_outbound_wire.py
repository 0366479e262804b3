"""No candidate of an offer is contacted or resolved, seen on the wire: real daemons in a network namespace whose every
interface is tapped (outbound_wire.py). What engines and parsers do with such offers is in fuzz/test_outbound.py.
"""

import json
import subprocess
import sys

import pytest

from tests.system.outbound_wire import OFFERS, WIRE

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]


def test_outbound_wire_carries_nothing_but_http_whatever_offers_name() -> None:
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "tests.system.outbound_wire"],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["answered"] >= OFFERS
    assert found["seen"]["lo"].pop("http") > 4 * OFFERS
    found["seen"][WIRE].pop("neighbour discovery", None)  # the kernel's own, for the interface's link-local address
    assert found["seen"] == {"lo": {}, WIRE: {}}
    assert found["shown"][WIRE].get("IP protocol 17 to 198.51.100.1:5353") == 1
    assert found["shown"]["lo"].get("IP protocol 17 to 127.0.0.1:53") == 1
