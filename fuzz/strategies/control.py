"""Messages of relayd's control socket, and what else somebody may write into it."""

from hypothesis import strategies as st

from fuzz.strategies import mutation
from shm.attach import (
    Accepted,
    AnyMessage,
    ConfirmKey,
    Hello,
    Incarnation,
    KeyConfirmed,
    OfferCounters,
    OfferLane,
    Ready,
    Refused,
    StatusReply,
    StatusRequest,
    Welcome,
    Withdraw,
    WorkerReplaced,
)

# What JSON can be that a message is not: other types in the places of fields, deep nesting, huge numbers.
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
INDEX, NUMBER, TEXT = st.integers(0, 255), st.integers(0, 2**63), st.text(max_size=12)
MESSAGES: st.SearchStrategy[AnyMessage] = st.one_of(
    st.builds(Hello, st.sampled_from(["transceiverd", "operator"]), st.lists(NUMBER, max_size=16), NUMBER),
    st.builds(
        Welcome,
        NUMBER,
        NUMBER,
        st.lists(NUMBER, max_size=4),
        NUMBER,
        st.dictionaries(NUMBER, TEXT, max_size=4),
        NUMBER,
        TEXT,
    ),
    st.builds(Refused, TEXT, TEXT, TEXT),
    st.builds(OfferLane, INDEX, INDEX, NUMBER),
    st.builds(OfferCounters, TEXT, INDEX),
    st.builds(Withdraw, INDEX),
    st.builds(Incarnation, INDEX, NUMBER),
    st.builds(ConfirmKey, st.integers(0, 3), TEXT),
    st.builds(KeyConfirmed, NUMBER),
    st.builds(Accepted, TEXT),
    st.builds(Ready, NUMBER),
    st.builds(StatusRequest),
    st.builds(StatusReply, st.dictionaries(st.text(max_size=8), JSON, max_size=3)),
    st.builds(WorkerReplaced, NUMBER, NUMBER),
)
FIELDS = ("role", "layouts", "pid", "transceiver", "worker", "incarnation", "key_id", "fingerprint", "owner", "status")
TYPES = ("hello", "offer_lane", "offer_counters", "withdraw", "incarnation", "confirm_key", "status_request", "nothing")


def objects() -> st.SearchStrategy[object]:
    """Objects with the right `type` and any fields."""
    return st.builds(
        lambda kind, fields: {"type": kind, **fields},
        st.sampled_from(TYPES),
        st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5),
    )


def hostile(valid: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Anything, and JSON so deep that a reader's stack is in danger."""
    deep = st.sampled_from(
        [b"[" * 60_000, b'{"type":' * 9_000, b'{"type":"status_reply","status":' + b'{"a":' * 20_000]
    )
    return st.one_of(mutation.hostile(valid), mutation.hostile(valid), deep)
