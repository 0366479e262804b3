"""For any bytes either a flow key that packs to the same bytes, or MalformedPacket with a known reason."""

from hypothesis import given
from hypothesis import strategies as st

from fuzz.oracle import cuts, examples, verdict
from fuzz.strategies import mutation
from shm.flowkey import FlowKey

REASONS = ("flow-key-size", "flow-key-transport", "flow-key-padding", "address-size")
PORTS = st.integers(0, 0xFFFF)
KEYS = st.builds(
    FlowKey, st.sampled_from([1, 2]), st.ip_addresses(), PORTS, st.ip_addresses(), PORTS, st.integers(0, 2**32 - 1)
).map(FlowKey.pack)


@examples(200)
@given(data=mutation.hostile(KEYS))
def test_flowkey_any_bytes(data: bytes) -> None:
    for part in cuts(data):
        found = verdict(FlowKey.unpack, part, REASONS)
        assert isinstance(found, str) or found.pack() == part
