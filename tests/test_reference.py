"""The configuration's three faces are one: fields in the code, the installed file, the page, and --help-config."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from relayd.config import Relay
from shm.daemon.config import KNOWN_SECTIONS, parse
from shm.daemon.config_reference import options_of
from transceiverd.settings import SECTIONS

ROOT = Path(__file__).parents[1]
ALL = {**SECTIONS, "relay": Relay}


def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "systemd" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "writer"), [("ringline.toml", "ringline_toml"), ("CONFIGURATION.md", "configuration_page")]
)
def test_reference_files_are_what_the_code_says(name: str, writer: str) -> None:
    wanted = getattr(reference(), writer)()
    assert (ROOT / "systemd" / name).read_text() == wanted, "run `make reference`"


def test_reference_has_every_section_and_every_option() -> None:
    text = (ROOT / "systemd" / "ringline.toml").read_text()
    page = (ROOT / "systemd" / "CONFIGURATION.md").read_text()
    for name, struct in ALL.items():
        assert f"\n[{name}]\n" in text
        for option in options_of(struct):
            assert f"\n#{option.name} =" in text
            assert f"\n| `{option.name}` | " in page
            assert len(option.description) > 15, (name, option.name)
    assert set(ALL) <= KNOWN_SECTIONS


def test_reference_file_changes_nothing_and_its_values_are_the_defaults() -> None:
    text = (ROOT / "systemd" / "ringline.toml").read_text()
    assert parse(text, ALL) == parse("", ALL)
    lines = [line[1:] if line.startswith("#") else line for line in text.splitlines() if not line.startswith("# ")]
    values = tomllib.loads("\n".join(line for line in lines if not line.rstrip().endswith("=")))
    for name, table in values.items():
        defaults = ALL[name]()
        for key, value in table.items():
            default = getattr(defaults, key)
            assert value == (list(default) if isinstance(default, tuple) else default), (name, key)


@pytest.mark.parametrize("daemon", ["relayd", "transceiverd"])
def test_reference_help_config_prints_the_daemons_own_sections(daemon: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"{daemon}.main", "--help-config"], capture_output=True, text=True, check=True
    )
    page = (ROOT / "systemd" / "ringline.toml").read_text()
    blocks = [block for block in done.stdout.split("\n\n") if block.strip()]
    assert len(blocks) > 10
    assert all(block.strip() in page for block in blocks)
