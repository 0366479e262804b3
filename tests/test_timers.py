"""The control thread's deadlines against a plain dict."""

from hypothesis import given
from hypothesis import strategies as st

from transceiverd.timers import Deadlines

KEYS = st.integers(0, 5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.integers(0, 50)),
        st.tuples(st.just("clear"), KEYS, st.just(0)),
        st.tuples(st.just("due"), st.just(0), st.integers(0, 50)),
    ),
    max_size=60,
)


@given(STEPS)
def test_timers_agree_with_a_dict(steps: list[tuple[str, int, int]]) -> None:
    deadlines, model = Deadlines(), {}
    for what, key, at in steps:
        if what == "set":
            deadlines.set(key, at)
            model[key] = at
        elif what == "clear":
            deadlines.set(key, None)
            model.pop(key, None)
        else:
            due = sorted(each for each, when in model.items() if when <= at)
            assert sorted(deadlines.due(at)) == due  # type: ignore[type-var]
            for done in due:
                del model[done]
        assert len(deadlines) == len(model)
        assert deadlines.next() == min(model.values(), default=None)


def test_timers_move_later_without_growing() -> None:
    deadlines = Deadlines()
    for at in range(100_000):
        deadlines.set("call", at)
    assert len(deadlines._heap) == 1
    assert list(deadlines.due(99_998)) == []
    assert list(deadlines.due(99_999)) == ["call"]


def test_timers_key_that_is_set_again_at_once_waits_for_the_next_look() -> None:
    deadlines = Deadlines()
    deadlines.set("call", 5)
    seen = 0
    for key in deadlines.due(10):
        deadlines.set(key, 5)  # as an engine with a bug would, whose deadline stays in the past
        seen += 1
    assert seen == 1


def test_timers_equal_deadlines_do_not_pile_up() -> None:
    deadlines = Deadlines()
    for now in range(10_000):
        for key in range(10):
            deadlines.set(key, now + 100_000)
            deadlines.set(key, now + 10)
        for key in list(deadlines.due(now)):
            deadlines.set(key, now + 10)
    assert len(deadlines._heap) < 200
