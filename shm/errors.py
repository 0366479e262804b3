"""The two refusals that every part of Ringline shares.

`MalformedPacket` is what a parser raises; an engine turns it into a counted drop. `LayoutRefused` is what attaching to
a segment of another layout raises.
"""


class MalformedPacket(ValueError):
    """Input from a peer that breaks its format.

    `reason` is one of a parser's fixed short strings, so that it can label a counter without the peer choosing labels.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LayoutRefused(RuntimeError):
    """A segment, or a daemon, speaks a shared-memory layout that this release does not.

    The message names what was found and what is allowed (DESIGN 2.11).
    """

    def __init__(self, what: str, found: object, allowed: object) -> None:
        super().__init__(f"{what}: found {found}, this release speaks {allowed}")
        self.what = what
        self.found = found
        self.allowed = allowed
