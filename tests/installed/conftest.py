"""One machine for the folder: it boots once, and the tests tell one story in their order."""

from collections.abc import Iterator

import pytest

from tests.installed.machine import Machine, missing


@pytest.fixture(scope="package")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A Debian that runs, without Ringline."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    booted = Machine.boot(tmp_path_factory.mktemp("machine"))
    yield booted
    booted.close()
