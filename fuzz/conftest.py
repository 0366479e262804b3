"""How long the targets run: a few examples each in `make test`, over and over until a time is up in `make fuzz`.

RINGLINE_FUZZ_SECONDS, for each test, is set by fuzz/run.py. Hypothesis takes new examples at every call, so calling a
test again is all that more time needs.
"""

import time
from collections.abc import Generator
from typing import Any

import pytest

from fuzz.oracle import SECONDS


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Once, and again while there is time; only tests of hypothesis, machines too, get anywhere new by it."""
    outcome = yield
    if SECONDS and (hasattr(pyfuncitem.obj, "hypothesis") or hasattr(pyfuncitem.obj, "runs_again")):
        names = pyfuncitem._fixtureinfo.argnames
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    return outcome
