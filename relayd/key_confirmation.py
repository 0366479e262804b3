"""The ufrag keys that workers verify under, and the promise that a new key is known everywhere before it is used.

transceiverd rotates `ufrag.keys` and asks for each new key to be confirmed before it mints a call under it (DESIGN
2.7): a call whose ufrag some worker cannot verify would be dropped by that worker. The supervisor reads the file again,
has every worker do so, and answers when the last one has said that it did, or was born since.
"""

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from relayd.child_messages import LoadKeys
from relayd.ufrag_keys import KeyFileError, UfragKeys

log = logging.getLogger("supervisor")

KEY_FILE_NAME = "ufrag.keys"
# Confirmations that wait at once; there are four key ids, and one transceiverd.
PENDING_MAX = 16


class KeysRefused(RuntimeError):
    """The key file is not taken; the message names it and says why."""


class KeyedPost(Protocol):
    """A worker's place, as children.py has it."""

    @property
    def fingerprints(self) -> dict[int, str] | None:
        """The keys that its process verifies under; None when none runs."""

    def send(self, message: LoadKeys) -> None:
        """Tell it."""


class KeyConfirmation:
    """Holds the keys; `keys` is what a worker that starts now is born with."""

    def __init__(self, directory: Path) -> None:
        """Load the file, or create it when this daemon is the first. Raises KeyFileError, OSError."""
        self.path = directory / KEY_FILE_NAME
        self.keys = UfragKeys.load_or_create(self.path)
        self.posts: list[KeyedPost] = []
        self._pending: list[tuple[int, str, Callable[[], None]]] = []

    def confirm(self, key_id: int, fingerprint: str, confirmed: Callable[[], None]) -> str | None:
        """Call `confirmed` once every worker verifies under the key. Gives the reason when that cannot come true."""
        if self.keys.fingerprints().get(key_id) != fingerprint:
            with contextlib.suppress(KeysRefused):  # then the fingerprint below is not the one asked for
                self.reload(attached=False)
        known = self.keys.fingerprints().get(key_id, "none")
        if known != fingerprint:
            return f"key {key_id} in {self.path} has the fingerprint {known}"
        if len(self._pending) >= PENDING_MAX:
            return f"{PENDING_MAX} keys are being confirmed already"
        self._pending.append((key_id, fingerprint, confirmed))
        self.spread()
        self.settle()
        return None

    def reload(self, *, attached: bool) -> None:
        """Read the file again and have the workers do so. Raises KeysRefused, and then the old keys stay.

        While a transceiverd is `attached` a key may be added, but one that is known neither goes nor changes: calls may
        live under it, which transceiverd knows and this daemon does not. It says so by asking for a confirmation.
        """
        try:
            keys = UfragKeys.load(self.path)
        except (KeyFileError, OSError) as error:
            log.error("%s cannot be read, the keys stay as they are: %s", self.path, error)
            raise KeysRefused(f"{self.path} cannot be used: {error}") from None
        changed = [key for key, known in self.keys.fingerprints().items() if keys.fingerprints().get(key) != known]
        if attached and changed:
            names = ", ".join(map(str, changed))
            raise KeysRefused(
                f"{self.path} takes away or changes key {names}, under which calls may live: transceiverd knows, so "
                f"`relayctl reload transceiverd` decides; `relayctl keys rotate` is the way to a new key"
            )
        if keys != self.keys:
            log.info("ufrag keys are now %s", keys.fingerprints())
        self.keys = keys
        self.spread()

    def spread(self) -> None:
        """Tell each worker whose keys are not these."""
        for post in self.posts:
            if post.fingerprints is not None and post.fingerprints != self.keys.fingerprints():
                post.send(LoadKeys(str(self.path)))

    def settle(self) -> None:
        """Answer what has come true; called whenever a worker has loaded keys or was replaced."""
        still: list[tuple[int, str, Callable[[], None]]] = []
        came_true: list[Callable[[], None]] = []
        for key_id, fingerprint, confirmed in self._pending:
            if all(self._knows(post, key_id, fingerprint) for post in self.posts):
                came_true.append(confirmed)
            else:
                still.append((key_id, fingerprint, confirmed))
        self._pending = still
        for confirmed in came_true:
            confirmed()

    @property
    def quiet(self) -> bool:
        """Whether nobody waits for a confirmation."""
        return not self._pending

    def forget(self) -> None:
        """The one who asked is gone."""
        self._pending.clear()

    @staticmethod
    def _knows(post: KeyedPost, key_id: int, fingerprint: str) -> bool:
        """A worker that does not run will be born with the key."""
        return post.fingerprints is None or post.fingerprints.get(key_id) == fingerprint
