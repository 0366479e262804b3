"""Types of relayd/keyring.pyx."""

from relayd.ufrag import UfragKeys

REASONS: tuple[str, ...]

class Keyring:
    def __init__(self, keys: UfragKeys) -> None: ...
    def verify(self, text: bytes) -> int: ...
