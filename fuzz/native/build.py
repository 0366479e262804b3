"""Builds the fuzzer: the parsers once more with clang's instrumentation, and an executable that drives them.

Called by run.py. Everything goes under build/fuzz. A module is compiled again only when a source of it changed, because
compiling all takes a minute. The tree that the fuzzer runs on is one of links to this one, in which only the
instrumented modules differ: so its interpreter finds them in place of the product's own. All other extensions must be
built already (`.ci/setup`).
"""

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "build" / "fuzz"
PACKAGES = ("shm", "relayd", "transceiverd")
SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))

# What is fuzzed, and what a fault of it would pass through.
INSTRUMENTED = (
    "relayd/headers.py",
    "relayd/ufrag.py",
    "relayd/keyring.pyx",
    "relayd/receiver.pyx",
    "relayd/inbound.pyx",
    "transceiverd/media/rtp.py",
    "transceiverd/media/rtcp.py",
    "transceiverd/ice/stun.py",
    "transceiverd/sctp/checksum.pyx",
    "transceiverd/sctp/chunks.py",
    "transceiverd/sctp/packet.py",
)
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# -w: the C is Cython's. Strict aliasing and wrapping as in the product's build.
FLAGS = ("-g", "-O1", "-w", "-fPIC", "-fwrapv", "-fno-strict-aliasing", "-fno-omit-frame-pointer", *SANITIZERS)
CIMPORT = re.compile(r"^from ([\w.]+) cimport|^cimport ([\w.]+)|cdef extern from \"([\w./]+\.h)\"", re.MULTILINE)


class NoCompiler(RuntimeError):
    """clang, or its runtime with libFuzzer, is not installed."""


def build() -> Path:
    """The fuzzer's directory: `fuzzer` and the tree that it runs on. NoCompiler; RuntimeError with clang's words."""
    if shutil.which("clang") is None:
        raise NoCompiler("clang with libFuzzer is missing: apt-get install clang libclang-rt-14-dev")
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        modules = {name: _compile_module(name) for name in INSTRUMENTED}
        fuzzer = _compile_fuzzer()
        return _link_tree(modules, fuzzer)


def _link_tree(modules: dict[str, Path], fuzzer: Path) -> Path:
    """Every module of the packages as a link, except the extensions that get an instrumented one. Another run may be on
    an older tree: one is named after its links, and stays as it was made."""
    links = {REPOSITORY / (name.rpartition(".")[0] + SUFFIX): module for name, module in modules.items()}
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*"):
            if path.suffix == ".py" or path.name.endswith(SUFFIX):
                links.setdefault(path, path)
    links[REPOSITORY / "fuzzer"] = fuzzer
    named = hashlib.sha256("\n".join(sorted(f"{place} {target}" for place, target in links.items())).encode())
    tree = BUILD / "trees" / named.hexdigest()[:16]
    if tree.is_dir():
        return tree
    unfinished = tree.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for place, target in links.items():
        link = unfinished / place.relative_to(REPOSITORY)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    unfinished.rename(tree)
    return tree


def _compile_module(name: str) -> Path:
    """The instrumented extension of one source."""
    target = _place(REPOSITORY / name, SUFFIX)
    if not target.exists():
        source = target.with_suffix(".c")
        _cython(REPOSITORY / name, source, name.rpartition(".")[0].replace("/", "."))
        _clang(target, ["-fsanitize=fuzzer-no-link", "-shared", str(source)], [])
    return target


def _compile_fuzzer() -> Path:
    """The executable. Its runtime is the sanitizers' own; it exports them to the modules that it loads."""
    here = Path(__file__).parent
    target = _place(here / "harness.pyx", ".fuzzer", here / "driver.c")
    if not target.exists():
        source = target.with_suffix(".c")
        _cython(here / "harness.pyx", source, "harness")
        library = str(sysconfig.get_config_var("LIBDIR"))
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        link = [f"-L{library}", f"-Wl,-rpath,{library}", f"-l{version}", "-rdynamic", "-lm", "-ldl", "-pthread"]
        _clang(target, ["-fsanitize=fuzzer", str(here / "driver.c"), str(source)], link)
    return target


def _place(source: Path, suffix: str, *others: Path) -> Path:
    """Where the outcome of compiling `source` goes: named after all that goes into it."""
    contents = hashlib.sha256(" ".join(FLAGS).encode())
    for path in sorted({*_sources(source), *others}):
        contents.update(path.read_bytes())
    directory = BUILD / "objects" / f"{source.stem}-{contents.hexdigest()[:16]}"
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"{source.stem}{suffix}"


def _sources(first: Path) -> set[Path]:
    """A source, its declarations, and those that they cimport or include."""
    found: set[Path] = set()
    waiting = [first, first.with_suffix(".pxd")]
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file():
            continue
        found.add(path)
        for match in CIMPORT.finditer(path.read_text()):
            module = (match[1] or match[2] or "").replace(".", "/")
            waiting.append(REPOSITORY / (match[3] or f"{module}.pxd"))
    return found


def _cython(source: Path, target: Path, module: str) -> None:
    _run([sys.executable, "-m", "cython", "-3", "--module-name", module, "-o", str(target), str(source)])


def _clang(target: Path, sources: list[str], link: list[str]) -> None:
    include = [f"-I{REPOSITORY}", f"-I{sysconfig.get_path('include')}"]
    unfinished = target.with_suffix(".unfinished")
    _run(["clang", *FLAGS, *include, *sources, *link, "-o", str(unfinished)])
    unfinished.rename(target)


def _run(command: list[str]) -> None:
    done = subprocess.run(["nice", *command], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
