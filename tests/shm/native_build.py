"""Compiles a test's Cython harness with the flags of the build that the test is about: fault points, sanitizers.

`build("ring_harness", "faults", ["-DRINGLINE_FAULT_POINTS"])` gives the path of the extension; `load` imports it.
"""

import fcntl
import functools
import hashlib
import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
# -Bsymbolic: the harness has its own ringline_fault_point, whatever faultbuild.py has loaded for everybody.
OPTIONS = ["-shared", "-fPIC", "-fwrapv", "-g", "-w", "-pthread", "-Wl,-Bsymbolic"]


def build(name: str, build_name: str, flags: list[str]) -> Path:
    """tests/shm/<name>.pyx compiled with `flags`; the test fails with the compiler's words if that fails.

    Kept under build/harness by the contents of all sources, because compiling takes seconds.
    """
    source = Path(__file__).with_name(f"{name}.pyx")
    headers = [*(REPOSITORY / "shm").glob("*.pxd"), *(REPOSITORY / "shm").glob("*.h"), *source.parent.glob("*.h")]
    contents = b"".join(path.read_bytes() for path in [source, *sorted(headers)]) + repr([OPTIONS, flags]).encode()
    directory = REPOSITORY / "build" / "harness" / f"{build_name}-{hashlib.sha256(contents).hexdigest()[:16]}"
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _compile(source, target, flags)
    return target


def _compile(source: Path, target: Path, flags: list[str]) -> None:
    generated, unfinished = target.with_suffix(".c"), target.with_suffix(".unfinished")
    cython = [sys.executable, "-m", "cython", "-3", "--module-name", source.stem, "-o", str(generated)]
    _run([*cython, str(source)])
    include = [f"-I{REPOSITORY}", f"-I{sysconfig.get_path('include')}"]
    _run(["gcc", *OPTIONS, *flags, *include, str(generated), "-o", str(unfinished)])
    unfinished.rename(target)


def load(path: Path) -> ModuleType:
    """Import the extension at `path` under its own name, without touching sys.path."""
    spec = importlib.util.spec_from_file_location(path.name.split(".")[0], path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


@functools.cache
def fault_harness() -> Any:
    """`ring_harness` with a fault point before every store."""
    return load(build("ring_harness", "faults", ["-O1", "-DRINGLINE_FAULT_POINTS"]))
