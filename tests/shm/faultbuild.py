"""Extensions of shm/ themselves, compiled with a fault point before every store (-DRINGLINE_FAULT_POINTS).

`fault_modules("flows")` gives the module as the product has it, from its own source, but deadly: after `arm(n)` the
process is killed before the n-th store from then on, counted over all such modules. For rings see native_build.py.
The result is kept under build/faults by the contents of the sources, because compiling takes seconds.
"""

import ctypes
import fcntl
import functools
import hashlib
import importlib.machinery
import importlib.util
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.shm.processes import KILLED, fork, reap

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / "build" / "faults"
SURVIVED = 0
NOTHING_OPTIMISED = ["-O0", "-fPIC", "-fwrapv", "-w", "-shared"]
"""Every store of the source is then a store of the program, in its order."""


@functools.cache
def library() -> Any:
    """The shared counter, loaded before any module that calls it."""
    target = compiled_library(Path(__file__).with_name("fault_library.c"))
    return ctypes.CDLL(str(target), mode=ctypes.RTLD_GLOBAL)


def compiled_library(source: Path) -> Path:
    """One C file of the tests as a library."""
    return _cached(f"{source.stem}.so", [source], _compile_library)


def arm(stores: int) -> None:
    """Die before the `stores`-th store from now; 0: never."""
    library().ringline_fault_arm(ctypes.c_long(stores))


def passed() -> int:
    """Stores since `arm`."""
    return int(library().ringline_fault_passed())


@functools.cache
def fault_module(name: str, *imported: str) -> ModuleType:
    """shm.<name> with fault points; those of shm that it imports and that are `imported` have them too."""
    library()
    shadowed = {f"shm.{other}": fault_module(other) for other in imported}
    kept = {other: sys.modules.get(other) for other in shadowed}
    sys.modules.update(shadowed)
    try:
        return _load(f"shm.{name}", build(name))
    finally:
        for other, module in kept.items():
            if module is None:
                del sys.modules[other]
            else:
                sys.modules[other] = module


def build(name: str) -> Path:
    """The path of shm/<name>.pyx compiled with fault points."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    shm = REPOSITORY / "shm"
    sources = [shm / f"{name}.pyx", *sorted(shm.glob("*.pxd")), *sorted(shm.glob("*.h"))]
    return _cached(f"{name}{suffix}", sources, _compile_module)


def killed_at(store: int, work: Callable[[], object]) -> bool:
    """Runs `work` in a child that dies at its `store`-th store; False when it has fewer and survived."""

    def child() -> None:
        arm(store)
        work()

    status = reap(fork(child))
    assert status in (KILLED, SURVIVED), f"the child failed with {status}"
    return status == KILLED


def _load(name: str, path: Path) -> ModuleType:
    """Import under the product's own name, beside the product's module and without replacing it."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _cached(name: str, sources: list[Path], compile_into: Callable[[Path, Path], None]) -> Path:
    """One build for all test processes and runs, as long as its sources stay the same."""
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    directory = CACHE / f"{name.partition('.')[0]}-{digest}"
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / name
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            unfinished = directory / "unfinished.so"
            compile_into(sources[0], unfinished)
            unfinished.rename(target)
    return target


def _compile_library(source: Path, target: Path) -> None:
    _run(["gcc", *NOTHING_OPTIMISED, str(source), "-o", str(target)])


def _compile_module(source: Path, target: Path) -> None:
    generated = source.with_suffix(".c")  # of the product's build: the macro changes nothing for Cython
    newest = max(path.stat().st_mtime for path in (source, *source.parent.glob("*.pxd")))
    if not generated.exists() or generated.stat().st_mtime < newest:
        generated = target.with_suffix(".c")
        module = f"shm.{source.stem}"
        _run([sys.executable, "-m", "cython", "-3", "--module-name", module, "-o", str(generated), str(source)])
    include = [f"-I{REPOSITORY}", f"-I{sysconfig.get_path('include')}"]
    _run(["gcc", *NOTHING_OPTIMISED, "-DRINGLINE_FAULT_POINTS", *include, str(generated), "-o", str(target)])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
