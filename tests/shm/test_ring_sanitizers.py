"""The ring under ASan with UBSan, and under TSan: the same inlined code, built with the sanitizer and driven hard."""

import os
import subprocess
import sys

import pytest

from tests.shm.native_build import REPOSITORY, build

pytestmark = [pytest.mark.system, pytest.mark.anytime]

SANITIZERS = {
    "asan": (["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"], ["libasan.so", "libubsan.so"]),
    "tsan": (["-O1", "-fsanitize=thread"], ["libtsan.so"]),
}


def library(name: str) -> str:
    """Where gcc has the sanitizer's runtime; Python itself is not linked with it, so it is preloaded."""
    return subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("work", ["hammer", "scribble"])
@pytest.mark.parametrize("sanitizer", list(SANITIZERS))
def test_ring_is_clean_under(sanitizer: str, work: str) -> None:
    flags, libraries = SANITIZERS[sanitizer]
    harness = build("ring_harness", sanitizer, flags)
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(map(library, libraries)),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter frees nothing at its end
        "TSAN_OPTIONS": "halt_on_error=1 exitcode=66",
        "PYTHONMALLOC": "malloc",
    }
    # TSan's runtime of gcc 12 wants its memory map where it expects it: no address randomisation.
    command = ["setarch", "-R", sys.executable, "-m", "tests.shm.sanitized_run", str(harness), work]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
