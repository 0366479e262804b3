"""Files that the configuration names and that are secret or replaced while the daemon runs: tokens, keys, certificates.

systemd gives a service its secrets as files in $CREDENTIALS_DIRECTORY (systemd.exec(5), LoadCredential=), readable by
nobody else. A relative name is looked for there first, so `tokens_file = "tokens"` and `LoadCredential=tokens:/...`
meet, and the same configuration works without systemd, relative to where the daemon was started.
"""

import os
from pathlib import Path

FILE_BYTES_MAX = 1 << 20  # a wrong path is no reason to read a disk


def credential_path(name: str) -> Path:
    """Where the file `name` is, whether it exists or not."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    found = Path(directory) / name
    return found if directory and not Path(name).is_absolute() and found.exists() else Path(name).absolute()


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a small file, with their numbers from 1; blank ones and those that begin with `#` left out.

    Raises OSError, and ValueError for what is too large or no text.
    """
    with path.open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise ValueError(f"larger than {FILE_BYTES_MAX} bytes")
    lines = ((number, line.strip()) for number, line in enumerate(data.decode("ascii").splitlines(), 1))
    return [(number, line) for number, line in lines if line and not line.startswith("#")]
