"""`make install DESTDIR=`: files of a package, laid below an empty directory by anybody, and all taken away again."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIGURATION = "etc/ringline/ringline.toml"


def installer(stage: Path, what: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    variables = {"PATH": os.environ["PATH"], "DESTDIR": str(stage), **environment}
    command = [sys.executable, str(ROOT / "systemd" / "install.py"), what]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120)


def test_staged_below_an_empty_directory_and_away_again(tmp_path: Path) -> None:
    """With the interpreter of this system: a directory that a package is made in has none of its own."""
    done = installer(tmp_path, "install", PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    home = tmp_path / "usr/lib/ringline"
    assert (home / "bin" / "python").readlink() == Path(sys.executable)
    assert (tmp_path / "usr/local/bin/relayctl").readlink() == Path("/usr/lib/ringline/bin/relayctl")
    assert (tmp_path / "usr/lib/systemd/system/ringline.target").is_file()
    tomllib.loads((tmp_path / CONFIGURATION).read_text())
    assert not [str(path) for path in tmp_path.rglob("*.py") if str(tmp_path) in path.read_text("utf-8", "replace")]
    with (tmp_path / CONFIGURATION).open("a") as edited:
        edited.write("[relay]\nport = 5000\n")
    assert installer(tmp_path, "uninstall").returncode == 0
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"etc", "etc/ringline", CONFIGURATION}  # edited, so it is kept
    assert installer(tmp_path, "uninstall").returncode == 1


def test_staged_interpreter_that_cannot_be_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    """A name that is not absolute used to become a link to itself, another minor version a service that dies."""
    for python, reason in (("python9.9", "there is no such program"), ("/bin/true", "is no Python")):
        refused = installer(tmp_path, "install", PYTHON=python)
        assert refused.returncode == 1
        assert f"PYTHON={python}" in refused.stderr
        assert reason in refused.stderr
        assert not [path for path in tmp_path.rglob("*") if path.name.startswith("ringline")]
