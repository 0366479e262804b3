"""The fixed reasons of counted drops are complete: each is in the sources, and none is there unlisted."""

import re
from pathlib import Path

import transceiverd.dtls
from transceiverd.dtls.reasons import DROP_REASONS


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
