"""Trees of releases to run daemons from, and a link that says which one is installed.

A tree has the three packages as an installation has them. HEAD's is a copy; an earlier commit's comes out of git, and
of its extensions only those are compiled that differ from ours in a source or in anything they cimport.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("shm", "relayd", "transceiverd")
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


class Installed:
    """What `current` points at is installed."""

    def __init__(self, directory: Path) -> None:
        self._link = directory / "current"
        self.environment = {"PYTHONPATH": str(self._link), "PYTHONSAFEPATH": "1"}

    def install(self, tree: Path) -> None:
        """As a package manager would: the next process runs this."""
        new = self._link.with_name("next")
        new.symlink_to(tree)
        new.rename(self._link)


def copy_of_head(place: Path, remark: str) -> Path:
    """Our own code under another build id."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, place / package, ignore=shutil.ignore_patterns("__pycache__", "*.c"))
    with (place / "shm" / "daemon" / "release.py").open("a") as file:
        file.write(f"\n# {remark}\n")
    return place


def commit(place: Path, name: str) -> Path:
    """An earlier commit, built. Skips the test where that is impossible, with the reason."""
    for needed in ("relayd/legacy.py", "transceiverd/takeover.py"):
        if _git("cat-file", "-e", f"{name}:{needed}").returncode != 0:
            pytest.skip(f"no commit {name} here that can take part in an upgrade: it has no {needed}")
    archive = _git("archive", name, *PACKAGES, "pyproject.toml")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(place, filter="data")
    with ThreadPoolExecutor(os.cpu_count()) as compilers:
        list(compilers.map(partial(_provide, place), _extensions(place)))
    return place


def _git(*words: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False)


def _extensions(place: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads((place / "pyproject.toml").read_text())["tool"]["setuptools"][
        "ext-modules"
    ]
    return found


def _library(extension: dict[str, Any]) -> str:
    return str(extension["name"]).replace(".", "/") + SUFFIX


def _same(place: Path, extension: dict[str, Any]) -> bool:
    """Whether ours is built from the same text."""
    ours, theirs = (_texts(root, extension) for root in (ROOT, place))
    return extension in _extensions(ROOT) and ours == theirs and (ROOT / _library(extension)).exists()


def _texts(root: Path, extension: dict[str, Any]) -> dict[str, str]:
    """Everything that an extension is built from, by path: its sources, and what these cimport and include."""
    texts: dict[str, str] = {}
    waiting = [str(source) for source in extension["sources"]]
    while waiting:
        name = waiting.pop()
        if name in texts or not (root / name).exists():
            continue
        text = texts[name] = (root / name).read_text()
        waiting.append(str(Path(name).with_suffix(".pxd")))
        waiting += re.findall(r'(?:extern from|#\s*include)\s+"([\w./]+)"', text)
        for package, names in re.findall(r"^\s*(?:from\s+)?([\w.]+)?\s*cimport\s+([\w, ()]+)", text, re.MULTILINE):
            modules = [package, *(f"{package}.{one.strip(' ()')}" for one in names.split(","))] if package else [names]
            waiting += [module.strip().replace(".", "/") + ".pxd" for module in modules]
    return texts


def _provide(place: Path, extension: dict[str, Any]) -> None:
    """Some 5 s of CPU where it is not the one that is here."""
    if _same(place, extension):
        shutil.copy(ROOT / _library(extension), place / _library(extension))
    else:
        _compile(place, extension)


def _compile(place: Path, extension: dict[str, Any]) -> None:
    sources = []
    for source in extension["sources"]:
        made = source if source.endswith(".c") else str(Path(source).with_suffix(".c"))
        if not source.endswith(".c"):
            _run(place, sys.executable, "-m", "cython", "-3", "-I", ".", source, "-o", made)
        sources.append(made)
    libraries = [f"-l{name}" for name in extension.get("libraries", [])]
    _run(place, "gcc", "-fPIC", "-shared", "-I.", f"-I{sysconfig.get_paths()['include']}",
         *extension.get("extra-compile-args", []), *sources, "-o", _library(extension),
         *extension.get("extra-link-args", []), *libraries)  # fmt: skip


def _run(place: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
