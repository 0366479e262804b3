"""Compiles the contenders into a directory: C with gcc, Go with go, the turner with Cython."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


def build_c(name: str, directory: Path) -> Path:
    """`<name>.c` as a program."""
    program = directory / name
    _run(["gcc", "-O2", "-o", str(program), str(HERE / f"{name}.c")], HERE)
    return program


def build_go(directory: Path) -> Path | None:
    """The Go forwarders; None when there is no go."""
    if shutil.which("go") is None:
        return None
    sources = directory / "go"
    sources.mkdir()
    for name in ("main.go", "go.mod", "go.sum"):
        shutil.copy(HERE / name, sources)
    program = directory / "go-forward"
    _run(["go", "build", "-o", str(program), "."], sources)
    return program


def build_turner(directory: Path) -> Path:
    """turner.pyx as an extension."""
    generated, extension = directory / "turner.c", directory / f"turner{sysconfig.get_config_var('EXT_SUFFIX')}"
    cython = [sys.executable, "-m", "cython", "-3", "--module-name", "turner", "-o", str(generated)]
    _run([*cython, str(HERE / "turner.pyx")], REPOSITORY)
    include = [f"-I{REPOSITORY}", f"-I{sysconfig.get_path('include')}"]
    options = ["-shared", "-fPIC", "-O2", "-fno-strict-aliasing", "-w"]
    _run(["gcc", *options, *include, str(generated), "-o", str(extension)], REPOSITORY)
    return extension


def _run(command: list[str], where: Path) -> None:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
