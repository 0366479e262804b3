"""A whole call with Pion (tests/pion, Go): ICE, DTLS, audio without a gap, data channels while it runs."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.daemons import running, wait_for
from tests.go_program import built

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

SOURCE = Path(__file__).parents[1] / "pion"
SECONDS = 90
KINDS = 9  # of messages in main.go: text, binary, empty, 256 KiB...
CHANNELS = 100  # that come, go, and come again under the same ids


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The caller, built."""
    return built(SOURCE, tmp_path_factory.mktemp("pion"))


@pytest.mark.parametrize("start", ["init", "snap"])
def test_pion_call_audio_has_no_gap_while_channels_carry_everything(program: Path, start: str) -> None:
    """`snap`: both INITs are in the SDP; else they cross on the wire."""
    with running() as server:
        done = subprocess.run(
            [str(program), server.calls_url, start], capture_output=True, text=True, check=False, timeout=SECONDS
        )
        assert done.returncode == 0, f"{done.stderr}\n{server.log.read_text()[-2000:]}"
        wait_for(lambda: not server.sessions(), "the server heard that Pion hung up")
    seen: dict[str, Any] = json.loads(done.stdout)
    print(seen)
    audio = seen["audio"]
    assert audio["received"] == audio["sent"] > 100, seen
    assert audio["gaps"] == audio["foreign"] == 0, seen
    assert seen["rounds"] > 0, seen
    assert seen["echoed"] == (2 + seen["rounds"]) * KINDS + 2 * CHANNELS, seen
    assert seen["longest"] == 262_144, seen
    assert seen["reopened"] == CHANNELS, seen
    assert seen["snap"] is (start == "snap"), seen
