"""Which code a process runs: the package's version and a build id, as in `0.1.0+3f9a1c2e`.

Shown for every process by `relayctl status`, since during an upgrade two releases run side by side. The build id is a
hash over the installed files (modules, extensions, the call page): it tells apart what the version does not, as
two builds of a checkout.

`RELEASE` is what this process has loaded, taken when this module was imported; `installed_release()` looks again, and
tells another one as soon as new code was installed over it.
"""

import contextlib
import hashlib
from pathlib import Path

FOLDERS = ("shm", "relayd", "transceiverd")
# What an installation does not run: sources of extensions, their headers, notes.
NOT_CODE = (".c", ".h", ".md", ".pxd", ".pyi", ".pyx", ".pyc")
BUILD_DIGITS = 8
# The release as the installer found it (systemd/install.py): to read 20 MB would cost a start a tenth of a second.
STAMP = "ringline.release"


def installed_release() -> str:
    """Version and build id of what is on the disk now, where this process's code came from."""
    # Not resolved: a symbolic link to the current release may point elsewhere since this process started.
    root = Path(__file__).parents[2]
    with contextlib.suppress(OSError):
        return (root / STAMP).read_text().strip()
    return f"{_version()}+{_build(root)}"


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 15 ms that an installation saves

    try:
        return version("ringline")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


def _build(root: Path) -> str:
    digest = hashlib.sha256()
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in NOT_CODE and "__pycache__" not in path.parts and path.is_file():
                digest.update(f"{path.relative_to(root)}\n".encode())
                with contextlib.suppress(OSError):  # an installation is at work: this is none of its ends yet
                    digest.update(path.read_bytes())
    return digest.hexdigest()[:BUILD_DIGITS]


RELEASE = installed_release()
