"""Compiles what a measurement needs into a directory: C with gcc, Go with go, loops on our own rings with Cython."""

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

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


def build_extension(source: Path, directory: Path) -> Path:
    """A `.pyx` against the project's own declarations, as an extension."""
    name = source.stem
    generated, extension = directory / f"{name}.c", directory / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    _run([sys.executable, "-m", "cython", "-3", "--module-name", name, "-o", str(generated), str(source)], REPOSITORY)
    include = [f"-I{REPOSITORY}", f"-I{sysconfig.get_path('include')}"]
    options = ["-shared", "-fPIC", "-O2", "-fno-strict-aliasing", "-w"]
    _run(["gcc", *options, *include, str(generated), "-o", str(extension)], REPOSITORY)
    return extension


def load_extension(path: Path) -> ModuleType:
    """What `build_extension` made; its file may be deleted afterwards."""
    spec = importlib.util.spec_from_file_location(path.name.partition(".")[0], path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(command: list[str], where: Path) -> None:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
