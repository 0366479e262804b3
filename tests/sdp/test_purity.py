"""The SDP package is an engine: no socket, loop, clock or thread gets in, not even through what it imports."""

import subprocess
import sys

FORBIDDEN = ("socket", "asyncio", "select", "selectors", "ifaddr", "aiohttp", "uvloop")

PROGRAM = f"""
import importlib, pkgutil, sys
import transceiverd.sdp
before = set(sys.modules)
for module in pkgutil.iter_modules(transceiverd.sdp.__path__, "transceiverd.sdp."):
    importlib.import_module(module.name)
found = (set(sys.modules) - before) & set({FORBIDDEN!r})
sys.exit(f"imported: {{sorted(found)}}" if found else 0)
"""


def test_sdp_imports_no_io() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
