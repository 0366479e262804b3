"""The engine reads no clock and opens nothing (DESIGN 2.12)."""

import ast
import re
from pathlib import Path

import transceiverd.dtls
from transceiverd.dtls.reasons import DROP_REASONS

FORBIDDEN = {"socket", "asyncio", "time", "select", "threading", "selectors", "uvloop"}


def test_engine_imports_no_socket_loop_or_clock() -> None:
    folder = Path(transceiverd.dtls.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not FORBIDDEN & {name.split(".")[0] for name in names}, path.name


def test_reasons_are_those_in_the_sources() -> None:
    folder = Path(transceiverd.dtls.__file__).parent
    found = set()
    for path in folder.glob("*.py"):
        if path.name == "reasons.py":
            continue
        text = path.read_text()
        found |= set(re.findall(r'MalformedPacket\("([^"]+)"', text))
        found |= set(re.findall(r'_drops\["([^"]+)"\]', text))
        found |= set(re.findall(r'MalformedPacket\("[^"]+" if .* else "([^"]+)"', text))
    assert found == set(DROP_REASONS)


def test_engine_files_and_functions_are_small() -> None:
    folder = Path(transceiverd.dtls.__file__).parent
    for path in folder.glob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= 400, path.name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 70, f"{path.name}: {node.name}"
