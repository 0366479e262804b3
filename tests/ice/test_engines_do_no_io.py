"""The ICE engines import no socket, loop, clock or thread (DESIGN 2.12)."""

import ast
from pathlib import Path

import pytest

import transceiverd.ice

FORBIDDEN = {"socket", "asyncio", "time", "select", "selectors", "threading", "datetime", "uvloop", "subprocess"}
FILES = sorted(Path(transceiverd.ice.__path__[0]).glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_engines_import_no_io(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert not imported & FORBIDDEN
