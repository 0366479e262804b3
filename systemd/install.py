"""Installs Ringline as a system's services, and takes it away again. Called by `make install` and `make uninstall`.

    python3 systemd/install.py install      DESTDIR=  PREFIX=/usr  PYTHON=
    python3 systemd/install.py uninstall    DESTDIR=  PREFIX=/usr  PURGE=

Nothing is compiled or downloaded: packages and extensions come from this checkout, the libraries, file by file as their
wheels list them, from its `.venv`, which `.ci/setup` made from requirements.lock by hash. They go into a private
environment, PREFIX/lib/ringline, which no other program shares and no upgrade of the system's Python packages touches.

A manifest there lists every file with its hash; `uninstall` removes exactly those. A file below /etc that somebody
edited is never overwritten (the new one is put beside it as `.new`) and, without PURGE=1, never removed.

Runs with any Python 3.11 or later, standard library only. The commands that tell a running systemd are skipped with
DESTDIR, and where none runs.
"""

import compileall
import contextlib
import csv
import hashlib
import importlib.metadata
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
MANIFEST = "manifest.json"
COMMANDS = {"relayd": "relayd.main", "transceiverd": "transceiverd.main", "relayctl": "relayd.relayctl"}
UNITS = ("relayd.service", "transceiverd.service", "ringline.target")
# The first systemd with RestartSteps= (its NEWS, 254).
BACKOFF_SYSTEMD = 254
# -I: no variable and no user's directory may change what a service imports. Not pip's wrapper, which imports re first.
LAUNCHER = "#!{python} -I\nimport sys\n\nfrom {module} import main\n\nsys.exit(main())\n"


class Refused(RuntimeError):
    """Cannot be done; the message says why and what to do."""


class Layout:
    """Where everything goes."""

    def __init__(self, destination: str, prefix: str) -> None:
        self.destination = destination.rstrip("/")
        self.prefix = "/" + prefix.strip("/")
        self.home = f"{self.prefix}/lib/ringline"
        # With the default prefix the commands go where no package of the distribution ever puts one.
        self.commands = "/usr/local/bin" if self.prefix == "/usr" else f"{self.prefix}/bin"
        # systemd, sysusers, tmpfiles and sysctl read /usr/local/lib as well as /usr/lib, and no other prefix.
        self.units = f"{self.prefix if self.prefix in ('/usr', '/usr/local') else '/usr/local'}/lib"

    def real(self, path: str) -> Path:
        """Where `path` is while installing."""
        return Path(self.destination + path)

    @property
    def live(self) -> bool:
        """Whether this is the running system's own root, under systemd."""
        return not self.destination and Path("/run/systemd/system").is_dir()


# ---------------------------------------------------------------------------------------------- the environment


def built_libraries() -> Path:
    """The site-packages of the checkout's `.venv`."""
    found = sorted(SOURCE.glob(".venv/lib/python3.*/site-packages"))
    if not found:
        raise Refused("there is no .venv in this checkout: run `make install`, or .ci/setup first")
    return found[0]


def interpreter(layout: Layout, libraries: Path) -> str:
    """The system's Python that the services will run: the minor version that the extensions were compiled for."""
    name = libraries.parent.name
    if os.environ.get("PYTHON"):
        return _named_interpreter(layout, os.environ["PYTHON"], name)
    places = [f"/usr/bin/{name}", f"/usr/local/bin/{name}"]
    # The root of another system has its own; one that a package is made in is empty, and meant for a system like this.
    for root in (layout.real, Path):
        for place in places:
            if root(place).exists() or root(place).is_symlink():
                return place
    raise Refused(
        f"no {name} at {' or '.join(places)}, and the extensions are compiled for it. Install it, or build the "
        f"checkout with the system's own (rm -r .venv; PYTHON=/usr/bin/python3 make install)"
    )


def _named_interpreter(layout: Layout, named: str, wanted: str) -> str:
    """PYTHON= as an absolute path. What does not run here, in the root of another system, is believed."""
    if layout.destination and os.path.isabs(named) and layout.real(named).exists():
        return named
    found = shutil.which(named)
    if found is None:
        raise Refused(f"PYTHON={named}: there is no such program")
    show = "import sys; print('python%d.%d' % sys.version_info[:2])"
    is_a = subprocess.run([found, "-c", show], capture_output=True, text=True, check=False).stdout.strip()
    if is_a != wanted:
        raise Refused(f"PYTHON={named} is {is_a or 'no Python'}, and the extensions are compiled for {wanted}: "
                      f"rm -r .venv, then the same command again")  # fmt: skip
    return os.path.abspath(found)


def wanted_distributions(libraries: Path) -> list[importlib.metadata.Distribution]:
    """Ringline's dependencies and theirs, without the extras."""
    at_hand = {
        _normal(found.metadata["Name"]): found for found in importlib.metadata.distributions(path=[str(libraries)])
    }
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    waiting, wanted = list(project["dependencies"]), {}
    while waiting:
        requirement, _, marker = waiting.pop().partition(";")
        match = re.match(r"[\w.-]+", requirement.strip())
        if match is None or "extra" in marker:
            continue
        name = _normal(match[0])
        if name in at_hand and name not in wanted:
            wanted[name] = at_hand[name]
            waiting += at_hand[name].requires or []
    missing = {_normal(re.split(r"[^\w.-]", text)[0]) for text in project["dependencies"]} - wanted.keys()
    if missing:
        raise Refused(f"{libraries} lacks {', '.join(sorted(missing))}: run .ci/setup again")
    return [wanted[name] for name in sorted(wanted)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def copy_distribution(found: importlib.metadata.Distribution, libraries: Path, target: Path) -> None:
    """The files that its wheel listed, but for its scripts and for what was compiled since."""
    for name, *_ in csv.reader((found.read_text("RECORD") or "").splitlines()):
        if not name.startswith(("..", "/")) and "__pycache__" not in name and (libraries / name).is_file():
            _copy(libraries / name, target / name)


def copy_packages(target: Path) -> None:
    """Ringline itself: the packages and package data that pyproject.toml names, extensions as they were built here."""
    settings = tomllib.loads((SOURCE / "pyproject.toml").read_text())["tool"]["setuptools"]
    for package in settings["packages"]:
        folder = SOURCE / package.replace(".", "/")
        patterns = ["*.py", "*.so", "py.typed", *settings["package-data"].get(package, ())]
        for path in {path for pattern in patterns for path in folder.glob(pattern)}:
            _copy(path, target / path.relative_to(SOURCE))
    for extension in settings["ext-modules"]:
        if not list(target.glob(extension["name"].replace(".", "/") + ".*.so")):
            raise Refused(f"{extension['name']} is not compiled: run .ci/setup")


def write_metadata(target: Path) -> None:
    """What importlib.metadata is asked for: the version, and the subcommands of relayctl."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    folder = target / f"{project['name']}-{project['version']}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, points in project.get("entry-points", {}).items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in points.items()))
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")


def write_release(target: Path) -> None:
    """Version and a hash of what is installed, in the form of shm/daemon/release.py, which would else read it all."""
    version = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]["version"]
    whole = hashlib.sha256()
    for folder in ("shm", "relayd", "transceiverd"):
        for path in sorted((target / folder).rglob("*")):
            if path.is_file():
                whole.update(f"{path.relative_to(target)} {digest(path)}\n".encode())
    (target / "ringline.release").write_text(f"{version}+{whole.hexdigest()[:8]}\n")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if target.suffix == ".so" or ".so." in target.name else 0o644)


def build_environment(layout: Layout, library: Path) -> None:
    """The private environment, in `library`, to be used as `layout.home`."""
    libraries = built_libraries()
    python = interpreter(layout, libraries)
    target = library / "lib" / libraries.parent.name / "site-packages"
    for found in wanted_distributions(libraries):
        copy_distribution(found, libraries, target)
    copy_packages(target)
    write_metadata(target)
    write_release(target)
    (library / "pyvenv.cfg").write_text(f"home = {Path(python).parent}\ninclude-system-site-packages = false\n")
    (library / "bin").mkdir()
    (library / "bin" / "python").symlink_to(python)
    for command, module in COMMANDS.items():
        launcher = library / "bin" / command
        launcher.write_text(LAUNCHER.format(python=f"{layout.home}/bin/python", module=module))
        launcher.chmod(0o755)
    _compile(layout, python, library, target)


def _compile(layout: Layout, python: str, library: Path, target: Path) -> None:
    """Byte code without a look at the source's date at every import: the services cannot write it themselves.

    By the interpreter that will read it, where it runs here; its magic number may differ from ours.
    """
    final = f"{layout.home}/{target.relative_to(library)}"
    if sys.version_info[:2] == tuple(int(part) for part in target.parent.name.removeprefix("python").split(".")):
        compileall.compile_dir(
            target, quiet=2, force=True, ddir=final, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
        return
    runs = layout.real(python) if layout.real(python).exists() else python
    subprocess.run([runs, "-m", "compileall", "-qq", "-f", "-d", final, "--invalidation-mode",
                    "unchecked-hash", target], check=True)  # fmt: skip


# ---------------------------------------------------------------------------------------------- files


def system_files(layout: Layout) -> Iterator[tuple[str, str]]:
    """Path and content of everything outside the environment but the configuration."""
    here = SOURCE / "systemd"
    for unit in UNITS:
        yield f"{layout.units}/systemd/system/{unit}", (here / unit).read_text().replace("@LIB@", layout.home)
    if systemd_version() >= BACKOFF_SYSTEMD:
        for unit in UNITS[:2]:
            yield f"{layout.units}/systemd/system/{unit}.d/10-backoff.conf", (here / "backoff.conf").read_text()
    yield f"{layout.units}/sysusers.d/ringline.conf", (here / "sysusers.conf").read_text()
    yield f"{layout.units}/tmpfiles.d/ringline.conf", (here / "tmpfiles.conf").read_text()
    yield f"{layout.units}/sysctl.d/50-ringline.conf", (here / "sysctl.conf").read_text()


def systemd_version() -> int:
    """Of the systemd here; 0 where there is none."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError, ValueError, IndexError):
        done = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True)
        return int(done.stdout.split()[1])
    return 0


def write_file(path: Path, content: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(content)
    beside.chmod(0o644)
    beside.replace(path)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def install_configuration(layout: Layout, before: dict[str, str]) -> dict[str, str]:
    """/etc/ringline/ringline.toml, unless somebody has edited the one that is there. Gives path and hash as shipped."""
    name = "/etc/ringline/ringline.toml"
    path, content = layout.real(name), (SOURCE / "systemd" / "ringline.toml").read_text()
    if path.exists() and digest(path) not in (before.get(name), hashlib.sha256(content.encode()).hexdigest()):
        write_file(path.with_name(path.name + ".new"), content)
        print(f"ringline: {name} was edited and stays as it is; this release's is beside it as {path.name}.new")
        return {name: before.get(name, "")}
    path.with_name(path.name + ".new").unlink(missing_ok=True)
    write_file(path, content)
    path.chmod(0o640)  # tokens may come to stand in it; tmpfiles.conf gives it to the group, which exists by then
    return {name: digest(path)}


def read_manifest(layout: Layout) -> dict[str, dict[str, str]]:
    """Of what is installed; empty when nothing is."""
    with contextlib.suppress(OSError):
        found: dict[str, dict[str, str]] = json.loads((layout.real(layout.home) / MANIFEST).read_text())
        return found
    return {"files": {}, "configuration": {}}


# ---------------------------------------------------------------------------------------------- install


def install(layout: Layout) -> None:
    """Put everything in place; safe to repeat."""
    before = read_manifest(layout)
    library = layout.real(layout.home)
    new = library.with_name("ringline.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        build_environment(layout, new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    files = dict(system_files(layout))
    links = {f"{layout.commands}/{command}": f"{layout.home}/bin/{command}" for command in COMMANDS}
    _replace_tree(new, library)
    for name, content in files.items():
        write_file(layout.real(name), content)
    for name, place in links.items():
        _link(layout.real(name), place)
    configuration = install_configuration(layout, before["configuration"])
    manifest = {
        "files": {name: digest(layout.real(name)) for name in files} | links,
        "configuration": configuration,
    }
    for name in before["files"].keys() - manifest["files"].keys():  # of an earlier release
        layout.real(name).unlink(missing_ok=True)
    write_file(library / MANIFEST, json.dumps(manifest, indent=1))
    if layout.live:
        _tell_system(layout)
    _say_what_next(layout)


def _replace_tree(new: Path, library: Path) -> None:
    """The moment without either is two renames long; what runs has its files open or mapped."""
    old = library.with_name("ringline.old")
    shutil.rmtree(old, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        library.rename(old)
    new.rename(library)
    shutil.rmtree(old, ignore_errors=True)


def _link(path: Path, target: str) -> None:
    if path.exists() and not path.is_symlink():
        raise Refused(f"{path} is a file of somebody else's; remove it, or choose another PREFIX")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _tell_system(layout: Layout) -> None:
    """What a boot would do: users, the runtime directory, buffer sizes, units."""
    for command in (
        ["systemd-sysusers", f"{layout.units}/sysusers.d/ringline.conf"],
        ["systemd-tmpfiles", "--create", f"{layout.units}/tmpfiles.d/ringline.conf"],
        ["/lib/systemd/systemd-sysctl", f"{layout.units}/sysctl.d/50-ringline.conf"],
        ["systemctl", "daemon-reload"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"ringline: {' '.join(command)}: {done.stderr.strip()}")


def _say_what_next(layout: Layout) -> None:
    print(f"ringline: installed below {layout.destination or '/'}: {layout.home}, commands in {layout.commands}")
    if not layout.destination:
        print("ringline: start it now and at every boot with:  systemctl enable --now ringline.target")


# ---------------------------------------------------------------------------------------------- uninstall


def uninstall(layout: Layout, *, purge: bool) -> None:
    """Stop it and take away what the manifest lists; an edited file stays unless `purge`."""
    manifest = read_manifest(layout)
    if not manifest["files"]:
        raise Refused(f"nothing is installed at {layout.real(layout.home)}")
    if layout.live:
        subprocess.run(["systemctl", "disable", "--now", "--quiet", *UNITS], check=False)
    for name in manifest["files"]:
        layout.real(name).unlink(missing_ok=True)
        _remove_empty(layout, layout.real(name).parent)
    etc = manifest["configuration"].items()
    kept = [name for name, shipped in etc if not _remove_etc(layout, name, shipped, purge=purge)]
    shutil.rmtree(layout.real(layout.home))
    _remove_empty(layout, layout.real(layout.home).parent)
    if layout.live:
        _forget(layout)
    for name in kept:
        print(f"ringline: {name} was edited and is kept; PURGE=1 removes it too")
    print("ringline: uninstalled")


def _remove_etc(layout: Layout, name: str, shipped: str, *, purge: bool) -> bool:
    """Whether it is gone."""
    path = layout.real(name)
    path.with_name(path.name + ".new").unlink(missing_ok=True)
    if path.exists() and digest(path) != shipped and not purge:
        return False
    path.unlink(missing_ok=True)
    _remove_empty(layout, path.parent)
    return True


def _remove_empty(layout: Layout, folder: Path) -> None:
    """A directory that was ours alone, such as a drop-in's; in a root that a package was staged in, all of them."""
    with contextlib.suppress(OSError):
        if layout.destination:
            while folder != Path(layout.destination):
                folder.rmdir()
                folder = folder.parent
        elif folder.name.endswith(".d") or folder.name == "ringline":
            folder.rmdir()


def _forget(layout: Layout) -> None:
    """Units, users and the runtime directory. Nothing on disk belongs to the users, so no file is left without one."""
    shutil.rmtree("/run/ringline", ignore_errors=True)
    for command in (
        ["systemctl", "daemon-reload"],
        ["systemctl", "reset-failed", *UNITS],
        ["userdel", "relayd"],
        ["userdel", "transceiverd"],
        ["groupdel", "ringline"],
    ):
        subprocess.run(command, capture_output=True, check=False)
    print("ringline: socket buffer limits stay raised until the next boot")


def main(arguments: list[str]) -> int:
    """Do what the first argument says."""
    layout = Layout(os.environ.get("DESTDIR", ""), os.environ.get("PREFIX") or "/usr")
    try:
        if not layout.destination and os.geteuid() != 0:
            raise Refused("needs root; or set DESTDIR to stage it somewhere")
        match arguments:
            case ["install"]:
                install(layout)
            case ["uninstall"]:
                uninstall(layout, purge=os.environ.get("PURGE", "") not in ("", "0"))
            case _:
                raise Refused("say install or uninstall")
    except (Refused, OSError) as error:
        print(f"ringline: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
