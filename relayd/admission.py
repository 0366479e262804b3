"""Which processes may use the control socket.

Asked by control.py for every connection, before anything is read from it. The socket's mode 0660 keeps strangers out
already; this check holds where the mode was changed, and it is exact: the same user, root, and whom the configuration
names. Credentials are the kernel's (unix(7) SO_PEERCRED, SO_PEERGROUPS), taken when the peer connected.
"""

import array
import grp
import os
import pwd
import socket
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shm.attach import Credentials

SO_PEERGROUPS = 59  # <asm-generic/socket.h>; Python 3.11 has no name for it
GROUPS_MAX = 256  # socket.getsockopt gives 1024 bytes at most


class UnknownPeer(ValueError):
    """The configuration names a user or group that this machine does not have."""


@dataclass(frozen=True)
class Admission:
    """The uids and the group that may connect."""

    uids: frozenset[int]
    gid: int | None

    @classmethod
    def of(cls, peers: Sequence[str], group: str, directory: Path | None = None) -> "Admission":
        """From `[relay] peers` and `group`, or without one from the runtime directory. Raises UnknownPeer."""
        gid = _gid_of(group) if group else _group_of(directory) if directory is not None else None
        return cls(frozenset({0, os.geteuid(), *map(_uid_of, peers)}), gid)

    def refuses(self, sock: socket.socket, peer: "Credentials") -> str | None:
        """The reason to send a peer away, or None."""
        if peer.uid in self.uids:
            return None
        if self.gid is not None and (peer.gid == self.gid or self.gid in _peer_groups(sock)):
            return None
        return f"uid {peer.uid} may not use this socket: [relay] peers or group must name it"


def _uid_of(name: str) -> int:
    if name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise UnknownPeer(f"[relay] peers: found {name!r}, allowed are users of this machine, or uids") from None


def _gid_of(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UnknownPeer(f"[relay] group: found {name!r}, allowed are groups of this machine") from None


def _group_of(directory: Path) -> int | None:
    """The group for which root has made the directory, if it did: setgid says that what is in it is the group's."""
    found = directory.stat()
    return found.st_gid if found.st_uid == 0 and found.st_mode & stat.S_ISGID else None


def _peer_groups(sock: socket.socket) -> Sequence[int]:
    """Supplementary groups of the peer; none when the kernel does not say, or it is in more than GROUPS_MAX."""
    try:
        return array.array("I", sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUPS_MAX * struct.calcsize("I")))
    except OSError:
        return ()
