"""The wheel: what `pip install .` gives, outside of the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"relayd", "shm", "transceiverd"}


def _checkout(target: Path) -> Path:
    """Only what git tracks, so that nothing built here helps. Not optimised, which halves the compiler's work."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, names):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    settings = target / "pyproject.toml"
    settings.write_text(settings.read_text().replace('"-O2"', '"-O0"'))
    return target


@pytest.mark.system
@pytest.mark.anytime
@pytest.mark.timeout(900)
def test_wheel_holds_the_three_packages_compiled_and_runs_elsewhere(tmp_path: Path) -> None:
    source = _checkout(tmp_path / "source")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "-q",
        "-w",
        str(tmp_path),
        ".",
    ]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    (wheel,) = tmp_path.glob("ringline-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES
    sources = {path.relative_to(source).with_suffix("").as_posix() for path in source.glob("*/**/*.pyx")}
    wanted = {name for name in sources if name.split("/")[0] in PACKAGES}
    assert wanted <= {name.split(".")[0] for name in names if name.endswith(".so")}
    assert "transceiverd/signalling/page/index.html" in names

    installed = tmp_path / "installed"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(installed), str(wheel)],
                   check=True)  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    for daemon in ("relayd", "transceiverd"):
        done = subprocess.run([sys.executable, "-P", "-m", f"{daemon}.main", "--check-config"], cwd=tmp_path,
                              env=environment, capture_output=True, text=True, check=False)  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
        code = f"import {daemon}.main as main; print(main.__file__)"
        where = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path,
                               env=environment, capture_output=True, text=True, check=True)  # fmt: skip
        assert where.stdout.startswith(str(installed))
