"""One relayd for all tests that only need one to be there: starting it costs a second of imports on a busy machine."""

from collections.abc import Iterator

import pytest

from tests.relayd.fake_transceiverd import FakeTransceiverd
from tests.relayd.relay_process import RelayProcess

# Short enough to wait for it in a test, long enough for a worker that only waits for a busy machine's CPU.
STUCK_AFTER_MS = 300


@pytest.fixture(scope="session")
def shared_relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """A relayd with two workers; a test leaves it without its own connections."""
    with RelayProcess(tmp_path_factory.mktemp("relayd"), stuck_after_ms=STUCK_AFTER_MS) as started:
        yield started


@pytest.fixture
def fake(shared_relay: RelayProcess) -> Iterator[FakeTransceiverd]:
    """Attached to it."""
    with FakeTransceiverd(shared_relay.directory) as started:
        yield started
