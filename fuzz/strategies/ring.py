"""Ring records: every field of the producer's call at its limits, and what may be scribbled over a ring."""

from hypothesis import strategies as st

U8, U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "slot": U32, "generation": U16, "origin": U64, "incarnation": U64, "flags": U16, "address_state": U8,
        "worker": U16, "traffic_class": U8, "flow_index": U32, "flow_generation": U32, "receive_time_ns": U64,
    },
)  # fmt: skip
TYPES = st.integers(1, 255)
KEYS = st.binary(min_size=48, max_size=48)
PAYLOADS = st.binary(max_size=200)
