"""The house style as a test: length of files and functions, who imports whom (DESIGN 4), what engines leave alone."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRODUCT = ("shm", "relayd", "transceiverd")
APART = ("tests", "bench", "fuzz")
LINES_MAX = 400
FUNCTION_LINES_MAX = 70
# Path: why this file may be longer than the others. Whoever makes one short takes its line out.
LONGER = {
    "fuzz/native/harness.pyx": "every native fuzz target, in the one module that the instrumented executable contains",
    "tests/shm/ring_harness.pyx": "both ends of one ring, in the one module that is built with each sanitizer",
}

# DESIGN 4, the column "may import".
RELAY_FOR_ALL = {"relayd.ufrag", "relayd.ufrag_keys", "relayd.headers"}
MAY_IMPORT = {"shm": {"shm"}, "relayd": {"relayd", "shm"}, "transceiverd": {"transceiverd", "shm", *RELAY_FOR_ALL}}

# DESIGN 2.12: bytes and `now` in, datagrams, events and one deadline out.
ENGINES = ("ice", "dtls", "sdp", "sctp", "session.py", "calls.py", "timers.py", "phases.py")
NOT_IN_ENGINES = ("socket", "asyncio", "uvloop", "select", "selectors", "threading", "subprocess", "time", "aiohttp",
                  "ifaddr")  # fmt: skip
CLOCK_CALLS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time_ns", "clock_gettime", "utcnow"}
# What others' packages bring along is theirs, and a log line's time is not the engine's: there before it is asked.
FOREIGN = ("OpenSSL.SSL", "OpenSSL.crypto", "cryptography.x509", "cryptography.hazmat.primitives.asymmetric.ec",
           "logging", "msgspec", "pylibsrtp")  # fmt: skip

# In one fresh interpreter for each engine: nothing of the forbidden can be imported, and the engine does not miss it.
IMPORT_ALONE = f"""
import importlib, sys
for name in {FOREIGN!r}:
    importlib.import_module(name)
for name in {NOT_IN_ENGINES!r}:
    sys.modules[name] = None
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def _files(folders: tuple[str, ...], *endings: str) -> list[Path]:
    found = [path for folder in folders for ending in endings for path in (ROOT / folder).rglob(f"*{ending}")]
    return sorted(path for path in found if "__pycache__" not in path.parts)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


SOURCES = _files((*PRODUCT, *APART), ".py", ".pyx", ".pxd")
PYTHON = [path for path in SOURCES if path.suffix == ".py"]


def _imports(path: Path) -> set[str]:
    """Modules named by `import`, `from` or `cimport`, anywhere in the file."""
    text = path.read_text()
    if path.suffix != ".py":
        return set(re.findall(r"^\s*(?:from|cimport|import)\s+([\w.]+)", text, re.MULTILINE))
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)} imports by a relative name"
            assert node.module is not None
            found |= _modules_of(node.module, [alias.name for alias in node.names])
    return found


def _modules_of(package: str, names: list[str]) -> set[str]:
    """`from package import names`: the names that are modules of ours, or the package."""
    folder = ROOT / package.replace(".", "/")
    return {f"{package}.{name}" if any(folder.glob(f"{name}.*")) else package for name in names}


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _engine_files(engine: str) -> list[Path]:
    place = ROOT / "transceiverd" / engine
    return [place] if place.suffix else sorted(place.glob("*.py"))


def test_style_files_are_short() -> None:
    lengths = {_name(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > LINES_MAX and name not in LONGER} == {}
    assert [name for name in LONGER if lengths.get(name, 0) <= LINES_MAX] == []


def test_style_functions_are_short() -> None:
    found = {}
    for path in PYTHON:
        for function in _functions(path):
            length = (function.end_lineno or 0) - function.lineno + 1
            if length > FUNCTION_LINES_MAX:
                found[f"{_name(path)}:{function.lineno} {function.name}"] = length
    assert found == {}


def test_style_files_open_with_what_they_are() -> None:
    """A docstring; a comment in a `.pxd` that has no module beside it which says it."""
    silent = []
    for path in SOURCES:
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith("# cython:")]
        opening = ('"""', "#") if path.suffix == ".pxd" else ('"""', 'r"""')
        beside = path.suffix == ".pxd" and any(path.with_suffix(other).exists() for other in (".py", ".pyx"))
        if lines and not beside and not lines[0].startswith(opening):
            silent.append(_name(path))
    assert silent == []


@pytest.mark.parametrize("folder", PRODUCT)
def test_style_folder_imports_what_it_may(folder: str) -> None:
    ours = {*PRODUCT, *APART}
    allowed = MAY_IMPORT[folder]
    wrong = {
        f"{_name(path)} imports {name}"
        for path in _files((folder,), ".py", ".pyx", ".pxd", ".pyi")
        for name in _imports(path)
        if name.partition(".")[0] in ours and not any(name == one or name.startswith(one + ".") for one in allowed)
    }
    assert wrong == set()


@pytest.mark.parametrize("engine", ENGINES)
def test_style_engine_names_no_socket_loop_or_clock(engine: str) -> None:
    wrong = set()
    for path in _engine_files(engine):
        wrong |= {f"{_name(path)} imports {name}" for name in _imports(path) if name.split(".")[0] in NOT_IN_ENGINES}
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in CLOCK_CALLS:
                wrong.add(f"{_name(path)}:{node.lineno} reads a clock by {node.attr}")
    assert wrong == set()


@pytest.mark.parametrize("engine", ENGINES)
def test_style_engine_lives_where_there_is_no_socket_loop_or_clock(engine: str) -> None:
    """Not even through what it imports."""
    modules = [_module(path) for path in _engine_files(engine)]
    done = subprocess.run([sys.executable, "-c", IMPORT_ALONE, *modules], cwd=ROOT, capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
