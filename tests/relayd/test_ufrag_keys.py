"""`ufrag.keys`: who creates it, who believes whom, and when a key may go (DESIGN 2.7, 3)."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from relayd.ufrag_keys import KeyFileError, KeyInUse, UfragKeys
from tests.shm.processes import fork, reap


def test_ufrag_keys_are_created_once_and_read_by_all(tmp_path: Path) -> None:
    path = tmp_path / "ufrag.keys"
    first = UfragKeys.load_or_create(path)
    assert UfragKeys.load_or_create(path) == first
    assert UfragKeys.load(path) == first
    assert first.ids() == (0,)
    assert first.current == 0
    assert len(first.secret(0)) == 32


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_ufrag_keys_file_is_for_owner_and_group_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        UfragKeys.load_or_create(tmp_path / "ufrag.keys")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "ufrag.keys").stat().st_mode) == 0o660
    assert [path.name for path in tmp_path.iterdir()] == ["ufrag.keys"]


def test_ufrag_keys_of_processes_that_start_together_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "ufrag.keys"

    def start(number: int) -> None:
        os.read(gate, 1)
        (tmp_path / f"seen.{number}").write_text(UfragKeys.load_or_create(path).fingerprint(0))

    gate, opener = os.pipe()
    children = [fork(lambda number=number: start(number)) for number in range(8)]  # type: ignore[misc]
    os.write(opener, bytes(8))
    assert [reap(child) for child in children] == [0] * 8
    os.close(gate)
    os.close(opener)
    seen = {file.read_text() for file in tmp_path.glob("seen.*")}
    assert seen == {UfragKeys.load(path).fingerprint(0)}
    assert not list(tmp_path.glob(".ufrag*"))


def test_ufrag_keys_rotate_onto_the_next_id_and_keep_the_old_one(tmp_path: Path) -> None:
    keys = UfragKeys.generate()
    following = keys.rotated(ids_in_use={0})
    assert following.current == 1
    assert following.ids() == (0, 1)
    assert following.secret(0) == keys.secret(0)
    following.save(tmp_path / "ufrag.keys")
    assert UfragKeys.load(tmp_path / "ufrag.keys") == following


def test_ufrag_keys_rotation_onto_an_id_in_use_is_refused() -> None:
    keys = UfragKeys.generate()
    for _ in range(3):
        keys = keys.rotated(ids_in_use=())
    assert (keys.current, keys.ids()) == (3, (0, 1, 2, 3))
    with pytest.raises(KeyInUse):
        keys.rotated(ids_in_use={0})
    again = keys.rotated(ids_in_use={1, 2, 3})
    assert again.current == 0
    assert again.secret(0) != keys.secret(0)


def test_ufrag_keys_never_show_a_secret() -> None:
    keys = UfragKeys.generate()
    assert keys.secret(0).hex() not in repr(keys)
    assert str(keys.secret(0)) not in repr(keys)
    assert len(keys.fingerprint(0)) == 16
    assert bytes.fromhex(keys.fingerprint(0)) not in keys.secret(0)


KEY = {"id": 0, "secret": "AAAA" * 10 + "AAA=", "created": ""}
GOOD = {"format": 1, "current": 0, "keys": [KEY]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format 2"),
        ({"current": 1}, "current key 1"),
        ({"keys": []}, "current key 0"),
        ({"keys": [KEY, KEY]}, "twice"),
        ({"keys": [{**KEY, "id": 4}]}, "key id 4"),
        ({"keys": [{**KEY, "secret": "AAAA"}]}, "3 bytes"),
        ({"keys": "none"}, "keys"),
        ({"extra": 1}, "extra"),
    ],
)
def test_ufrag_keys_file_that_makes_no_sense_names_file_and_reason(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    path = tmp_path / "ufrag.keys"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(KeyFileError, match=words) as refusal:
        UfragKeys.load(path)
    assert str(path) in str(refusal.value)


def test_ufrag_keys_file_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ufrag.keys"
    whole = json.dumps(GOOD)
    path.write_text(whole)
    assert UfragKeys.load(path).secret(0) == bytes(32)
    for size in range(len(whole)):
        path.write_text(whole[:size])
        with pytest.raises(KeyFileError):
            UfragKeys.load(path)
    path.write_text(whole + " " * 5000)
    with pytest.raises(KeyFileError, match="at most"):
        UfragKeys.load(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be two users")
def test_ufrag_keys_of_another_user_are_rotated_in_a_sticky_directory_and_nothing_else_is_replaced(
    tmp_path: Path,
) -> None:
    """As installed: relayd made the file, transceiverd rotates; neither replaces what is the other's."""
    relayd, transceiverd, group = 4711, 4712, 4713
    for folder in tmp_path.parents[:3]:
        folder.chmod(0o755)
    os.chown(tmp_path, 0, group)
    tmp_path.chmod(0o3770)
    path, socket_file = tmp_path / "ufrag.keys", tmp_path / "relayd.sock"

    def as_user(user: int, work: Callable[[], object]) -> None:
        def child() -> None:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            os.umask(0o027)
            work()

        assert reap(fork(child)) == 0

    def create() -> None:
        UfragKeys.load_or_create(path)
        socket_file.touch()

    def rotate() -> None:
        UfragKeys.load(path).rotated(()).save(path)

    def take_out_the_old() -> None:
        keys = UfragKeys.load(path)
        UfragKeys(keys.current, {keys.current: keys.secret(keys.current)}).save(path)

    def replace() -> None:
        other = tmp_path / "other"
        other.touch()
        for refused in (socket_file.unlink, lambda: other.rename(socket_file), lambda: other.rename(path), path.unlink):
            with pytest.raises(PermissionError):
                refused()

    as_user(relayd, create)
    first = UfragKeys.load(path)
    as_user(transceiverd, rotate)
    second = UfragKeys.load(path)
    assert (second.current, second.ids()) == (1, (0, 1))
    assert second.fingerprint(0) == first.fingerprint(0)
    as_user(transceiverd, take_out_the_old)  # shorter than what stood there
    assert UfragKeys.load(path).ids() == (1,)
    as_user(relayd, rotate)
    assert UfragKeys.load(path).ids() == (1, 2)
    as_user(transceiverd, replace)
    assert path.stat().st_uid == socket_file.stat().st_uid == relayd
