"""Writes `ringline.toml` and `CONFIGURATION.md` in this folder from the descriptions in the code: `make reference`.

Every option is described once, by its field (shm/daemon/config_reference.py says how); `tests/test_reference.py` holds
both files equal to what this would write. Not installed.
"""

import sys
from pathlib import Path

import msgspec

from relayd.config import Relay
from shm.daemon.config_reference import format_page, format_reference
from transceiverd.settings import SECTIONS

HERE = Path(__file__).parent

HEADER = """\
# The configuration of Ringline: /etc/ringline/ringline.toml, read by relayd and transceiverd.
#
# Every option stands here with its default, commented out: the file changes nothing as it is. Take the sign in front
# away to change one. Lines with a blank behind the sign are explanation.
#
#   relayd --check-config; transceiverd --check-config     before anything is touched
#   relayctl reload                                        take what says "Takes effect by: reload"; 0 calls lost
#
# A file that cannot be used is refused whole, with line, key, what was found and what is allowed.

"""

PAGE = """\
# Configuration reference

One TOML file, `/etc/ringline/ringline.toml`, for both daemons. Every key has a default, so the file may be empty or
absent. `relayd --help-config` and `transceiverd --help-config` print the same, `ringline.toml` beside this page has it
to copy from. This page is generated (`make reference`).

*Change* says how a new value takes effect: *reload* by `systemctl reload`, `relayctl reload` or SIGHUP, in every
process and without a lost packet; *restart* by a restart of the daemon that reads the section (relayd: `[relay]`;
transceiverd: the others; both: `[ringline]`). A reload names what waits for a restart. No call need end for it: they go
on over a restart of relayd, and `relayctl upgrade transceiverd` starts transceivers with the new options beside the old
ones, for new calls. A file that cannot be used is
refused whole and the old settings stay.

"""


def sections() -> dict[str, type[msgspec.Struct]]:
    """In the order in which an operator meets them."""
    own = dict(SECTIONS)
    return {"ringline": own.pop("ringline"), "relay": Relay, "signalling": own.pop("signalling"), **own}


def ringline_toml() -> str:
    """The commented file."""
    return HEADER + format_reference(sections())


def configuration_page() -> str:
    """The page."""
    return PAGE + format_page(sections())


def main() -> int:
    """Write both."""
    (HERE / "ringline.toml").write_text(ringline_toml())
    (HERE / "CONFIGURATION.md").write_text(configuration_page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
