"""shm/layout.py says what layout.h says: every field of every struct, every constant, by the compiler's word."""

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from shm import layout

REPOSITORY = Path(__file__).resolve().parents[2]
HEADER = (REPOSITORY / "shm" / "layout.h").read_text()
DECLARATION = re.compile(r"^\s*(?:[a-z0-9_]+_t|char|struct \w+) (\w+)(?:\[[^\]]*\])?;", re.MULTILINE)
STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
CONSTANT = re.compile(r"\bRINGLINE_([A-Z0-9_]+)\b(?: =|\s+\d|\s+0x)")


def header_fields() -> dict[str, list[str]]:
    """The names in layout.h, without what is reserved."""
    without_comments = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)
    return {
        name: [field for field in DECLARATION.findall(body) if not field.startswith(("pad", "reserved"))]
        for name, body in STRUCT.findall(without_comments)
    }


def ask_the_compiler(directory: Path, expressions: list[str]) -> list[int]:
    """The value of each C expression over layout.h."""
    source = directory / "ask.c"
    lines = "\n".join(f'    printf("%llu\\n", (unsigned long long)({expression}));' for expression in expressions)
    source.write_text(f'#include <stdio.h>\n#include "shm/layout.h"\nint main(void) {{\n{lines}\n    return 0;\n}}\n')
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    command = [compiler, "-std=c11", f"-I{REPOSITORY}", str(source), "-o", str(directory / "ask")]
    subprocess.run(command, check=True, capture_output=True)
    answer = subprocess.run([str(directory / "ask")], check=True, capture_output=True, text=True)
    return [int(line) for line in answer.stdout.split()]


def test_layout_offsets_are_equal_in_c_and_python(tmp_path: Path) -> None:
    expected: dict[str, int] = {}
    for name, struct in layout.STRUCTS.items():
        expected[f"sizeof(struct {name})"] = struct.size
        for field, at in struct.fields.items():
            expected[f"offsetof(struct {name}, {field})"] = at.offset
            expected[f"sizeof(((struct {name} *)0)->{field})"] = at.size
    found = ask_the_compiler(tmp_path, list(expected))
    assert dict(zip(expected, found, strict=True)) == expected
    assert len(expected) > 350


def test_layout_has_every_field_of_the_header() -> None:
    declared = header_fields()
    assert set(declared) == set(layout.STRUCTS)
    for name, fields in declared.items():
        assert fields == list(layout.STRUCTS[name].fields), name


def test_layout_has_every_constant_of_the_header(tmp_path: Path) -> None:
    names = sorted(set(CONSTANT.findall(HEADER)) - {"SHM_LAYOUT_H"})
    assert len(names) > 40
    values = ask_the_compiler(tmp_path, [f"RINGLINE_{name}" for name in names])
    assert {name: getattr(layout, name) for name in names} == dict(zip(names, values, strict=True))


def test_layout_origin_is_the_headers(tmp_path: Path) -> None:
    parts = (65535, 254, (1 << 24) - 2, 65533)
    assert ask_the_compiler(tmp_path, [f"RINGLINE_ORIGIN{parts}"]) == [layout.origin(*parts)]


@pytest.mark.parametrize(
    ("struct", "field", "expected"),
    [("session", "dtls.write_sequence", 784), ("record", "key.scope", 100), ("lane_header", "rings", 512)],
)
def test_layout_offset_goes_into_nested_structs(struct: str, field: str, expected: int) -> None:
    assert layout.offset(struct, field) == expected
