"""Flow keys: 48 canonical bytes, equal when the flows are equal."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.errors import MalformedPacket
from shm.flowkey import KEY_SIZE, TRANSPORT_TCP, TRANSPORT_UDP, FlowKey, key_client, key_local

REASONS = {"flow-key-size", "flow-key-transport", "flow-key-padding"}

ports = st.integers(0, 65535)
addresses = st.ip_addresses().filter(lambda address: address.version == 4 or address.ipv4_mapped is None)
keys = st.builds(
    FlowKey,
    transport=st.sampled_from([TRANSPORT_UDP, TRANSPORT_TCP]),
    client=addresses,
    client_port=ports,
    local=addresses,
    local_port=ports,
    scope=st.integers(0, 2**32 - 1),
)


@given(key=keys)
def test_flowkey_comes_back_as_it_was(key: FlowKey) -> None:
    packed = key.pack()
    assert len(packed) == KEY_SIZE
    assert FlowKey.unpack(packed) == key
    assert key_client(packed) == (str(key.client), key.client_port)
    assert key_local(packed) == (str(key.local), key.local_port)


@given(one=keys, other=keys)
def test_flowkey_bytes_are_equal_only_when_keys_are(one: FlowKey, other: FlowKey) -> None:
    assert (one.pack() == other.pack()) == (one == other)


@settings(max_examples=200)
@given(data=st.binary(max_size=60) | st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE))
def test_flowkey_any_bytes_are_a_key_or_malformed(data: bytes) -> None:
    """What is accepted packs to the same bytes: there is one form of each key."""
    reason = ""
    try:
        key = FlowKey.unpack(data)
    except MalformedPacket as error:
        reason = error.reason
    assert reason in REASONS or key.pack() == data


def test_flowkey_mapped_address_is_the_ipv4_address() -> None:
    local = ip_address("127.0.0.1")
    as_four = FlowKey(TRANSPORT_UDP, IPv4Address("192.0.2.1"), 1, local, 2)
    as_six = as_four._replace(client=IPv6Address("::ffff:192.0.2.1"))
    assert as_four.pack() == as_six.pack()
    assert FlowKey.unpack(as_six.pack()) == as_four
    assert as_four.pack()[:16] == bytes(10) + b"\xff\xff\xc0\x00\x02\x01"


@pytest.mark.parametrize(
    "wrong",
    [
        {"transport": 0},
        {"transport": 3},
        {"client_port": 65536},
        {"client_port": -1},
        {"local_port": 70000},
        {"scope": 1 << 32},
    ],
)
def test_flowkey_number_that_does_not_fit_is_refused(wrong: dict[str, int]) -> None:
    key = FlowKey(TRANSPORT_UDP, IPv4Address("192.0.2.1"), 1, IPv4Address("127.0.0.1"), 2)
    with pytest.raises(ValueError, match=r"transport|out of range"):
        key._replace(**wrong).pack()


@pytest.mark.parametrize("size", [0, 1, 47, 49])
def test_flowkey_ends_of_another_size_are_malformed(size: int) -> None:
    for read in (key_client, key_local):
        with pytest.raises(MalformedPacket):
            read(bytes(size))
