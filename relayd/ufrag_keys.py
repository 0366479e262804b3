"""The keys that ufrags are tagged with, and `ufrag.keys`, the file that both daemons read (DESIGN 2.7, 3).

Whoever starts first creates the file: a temporary with O_EXCL, mode 0640, then link(2) to the name, which fails when
somebody else was faster; the loser loads the winner's file. A change is written to a temporary and renamed over the
name, so a reader sees the old file or the new one. JSON:

    {"format": 1, "current": 0, "keys": [{"id": 0, "secret": "<32 bytes, base64>", "created": "2026-01-31T12:00:00Z"}]}

There are four key ids. Calls are minted under `current`; every key in the file verifies. The life of a key:

    rotated()  gives it the next id and makes it current; refused while that id still has live calls
    (relayd confirms the new key's fingerprint before a call is minted under it: the control socket's part)
    it goes when a rotation comes round to its id, or when a person takes it out of the file; refused likewise

A `UfragKeys` never changes: `rotated` gives a new one, to be saved. Only transceiverd's supervisor rotates, so two
writers do not meet. The daemons run as different users where installed: the file's group is its directory's (setgid).
Left out: when to rotate, and counting live calls per key (transceiverd's).
"""

import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

KEY_IDS = 4  # two bits of the ufrag
SECRET_BYTES = 32  # as wide as the hash: RFC 2104 section 3 sees no use in more and discourages less
FILE_FORMAT = 1
# The owner and the group both daemons belong to; a secret for everybody else. The group writes, too: transceiverd
# rotates keys that relayd created, and in the installed directory, which is sticky, it cannot put another file there.
FILE_MODE = 0o660
FILE_BYTES_MAX = 4096  # four keys take about 500 bytes; what is larger is another file
FINGERPRINT_LABEL = b"ringline-ufrag-key-fingerprint"


class KeyInUse(ValueError):
    """A rotation onto a key id under which calls still live."""


class KeyFileError(ValueError):
    """`ufrag.keys` cannot be used. The message names the file and what is wrong, never a secret."""


class StoredKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key as the file has it."""

    id: int
    secret: bytes  # base64 in JSON
    created: str  # RFC 3339, for people only


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file as a whole."""

    format: int
    current: int
    keys: list[StoredKey]


class UfragKeys:
    """The keys that verify, and which of them new calls are minted under."""

    def __init__(
        self, current: int, secrets_by_id: Mapping[int, bytes], created: Mapping[int, str] | None = None
    ) -> None:
        """ValueError when an id is not 0-3, a secret is not 32 bytes, or `current` is not among them."""
        for key_id, secret in secrets_by_id.items():
            if not 0 <= key_id < KEY_IDS:
                raise ValueError(f"key id {key_id}: ids are 0 to {KEY_IDS - 1}")
            if len(secret) != SECRET_BYTES:
                raise ValueError(f"key {key_id}: {len(secret)} bytes, a secret is {SECRET_BYTES}")
        if current not in secrets_by_id:
            raise ValueError(f"current key {current} is not among the keys {sorted(secrets_by_id)}")
        self.current = current
        self._secrets = dict(sorted(secrets_by_id.items()))
        self._created = {key_id: (created or {}).get(key_id, "") for key_id in self._secrets}

    @classmethod
    def generate(cls) -> "UfragKeys":
        """Keys with one fresh random secret, id 0."""
        return cls(0, {0: secrets.token_bytes(SECRET_BYTES)}, {0: _timestamp()})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "UfragKeys":
        """The keys of the file. FileNotFoundError; KeyFileError for anything that is not such a file."""
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # see _write_in_place
            data = file.read(FILE_BYTES_MAX + 1)
        try:
            return cls.decode(data)
        except ValueError as error:  # msgspec's errors are ValueErrors and name the place, not the value
            raise KeyFileError(f"{path}: {error}") from error

    @classmethod
    def decode(cls, data: bytes) -> "UfragKeys":
        """The keys of a file's bytes. ValueError for anything that is not such a file."""
        if len(data) > FILE_BYTES_MAX:
            raise ValueError(f"too large: at most {FILE_BYTES_MAX} bytes are allowed")
        stored = msgspec.json.decode(data, type=KeyFile)
        if stored.format != FILE_FORMAT:
            raise ValueError(f"format {stored.format}, this release reads {FILE_FORMAT}")
        if len({key.id for key in stored.keys}) != len(stored.keys):
            raise ValueError("a key id appears twice")
        by_id = {key.id: key.secret for key in stored.keys}
        return cls(stored.current, by_id, {key.id: key.created for key in stored.keys})

    def encode(self) -> bytes:
        """As the file has them: secrets, so keep them to processes of ours."""
        stored = [StoredKey(key_id, secret, self._created[key_id]) for key_id, secret in self._secrets.items()]
        return msgspec.json.encode(KeyFile(FILE_FORMAT, self.current, stored))

    @classmethod
    def load_or_create(cls, path: str | os.PathLike[str]) -> "UfragKeys":
        """The file's keys; when there is no file, it is created, or whoever was faster is believed."""
        target = Path(path)
        try:
            return cls.load(target)
        except FileNotFoundError:
            temporary = cls.generate()._write_temporary(target)
        try:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, target)
        finally:
            temporary.unlink()
        return cls.load(target)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Replaces the file in one step, or what it holds where the file is another user's in a sticky directory."""
        temporary = self._write_temporary(Path(path))
        try:
            temporary.rename(path)
        except PermissionError:
            temporary.unlink()
            self._write_in_place(Path(path))
        except OSError:
            temporary.unlink()
            raise

    def _write_in_place(self, target: Path) -> None:
        """One write within one page, never shorter than before: whoever dies here has written all or nothing, and the
        lock keeps readers from seeing half of it."""
        data = self.encode() + b"\n"
        descriptor = os.open(target, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.pwrite(descriptor, data.ljust(os.fstat(descriptor).st_size, b"\n"), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def ids(self) -> tuple[int, ...]:
        """The ids that verify, in order."""
        return tuple(self._secrets)

    def secret(self, key_id: int) -> bytes:
        """The secret of a key. KeyError when there is none of this id."""
        return self._secrets[key_id]

    def fingerprint(self, key_id: int) -> str:
        """16 hex digits that tell two keys apart and give nothing of them away; what relayd confirms a key by."""
        return hmac.digest(self._secrets[key_id], FINGERPRINT_LABEL, hashlib.sha256)[:8].hex()

    def fingerprints(self) -> dict[int, str]:
        """The fingerprint of every key, by id."""
        return {key_id: self.fingerprint(key_id) for key_id in self._secrets}

    def rotated(self, ids_in_use: Collection[int]) -> "UfragKeys":
        """These keys with a fresh one as current, under the id after the current one.

        KeyInUse when live calls were minted under that id's old key: their checks would stop verifying.
        """
        following = (self.current + 1) % KEY_IDS
        if following in ids_in_use:
            raise KeyInUse(f"key {following} still has live calls: a rotation onto it would cut them off")
        by_id = {**self._secrets, following: secrets.token_bytes(SECRET_BYTES)}
        return UfragKeys(following, by_id, {**self._created, following: _timestamp()})

    def __eq__(self, other: object) -> bool:
        """Equal when they verify and mint alike."""
        if not isinstance(other, UfragKeys):
            return NotImplemented
        return self.current == other.current and self.fingerprints() == other.fingerprints()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Without secrets: this may reach a log."""
        return f"UfragKeys(current={self.current}, fingerprints={self.fingerprints()})"

    def _write_temporary(self, target: Path) -> Path:
        data = self.encode()
        temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, FILE_MODE)  # open's mode passes through the umask, this does not
            file.write(data + b"\n")
            file.flush()
            os.fsync(descriptor)
        return temporary


def _timestamp() -> str:
    """Now, for the file's readers. Nothing depends on it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
