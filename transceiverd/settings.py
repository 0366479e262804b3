"""All sections that transceiverd reads, loaded together."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from shm.daemon.common import Ringline, runtime_directory
from shm.daemon.config import DEFAULT_PATH, load
from transceiverd.config import ApplicationSection, TransceiverSection
from transceiverd.dtls.config import DtlsConfig
from transceiverd.ice.config import IceConfig
from transceiverd.media.config import Media
from transceiverd.named_files import with_certificate, with_tokens
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.signalling.config import OperatorSection, SignallingSection

SECTIONS: dict[str, type[msgspec.Struct]] = {
    "ringline": Ringline,
    "transceiver": TransceiverSection,
    "ice": IceConfig,
    "dtls": DtlsConfig,
    "media": Media,
    "application": ApplicationSection,
    "data_channel": DataChannelConfig,
    "signalling": SignallingSection,
    "operator": OperatorSection,
}


@dataclass(frozen=True)
class Settings:
    """Each section, with its defaults filled in."""

    ringline: Ringline
    transceiver: TransceiverSection
    ice: IceConfig
    dtls: DtlsConfig
    media: Media
    application: ApplicationSection
    data_channel: DataChannelConfig
    signalling: SignallingSection
    operator: OperatorSection
    directory: str = ""
    """Where lock, sockets and keys are: the command line's, or `[ringline] runtime_directory`."""


def settings_in_memory(settings: Settings) -> int:
    """The settings encoded in an unnamed file of mode 0600, for a process that the supervisor started: they may be
    larger than a message, and hold secrets. Gives a descriptor, the caller's to close."""
    descriptor = os.memfd_create("ringline-settings", os.MFD_CLOEXEC)
    os.fchmod(descriptor, 0o600)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(msgspec.msgpack.encode(settings))
    return descriptor


def read_settings(descriptor: int) -> Settings:
    """The other end. The descriptor is closed. All processes read one open file at the same time: its position is
    nobody's to move, or one of them would find itself at the end."""
    try:
        return msgspec.msgpack.decode(os.pread(descriptor, os.fstat(descriptor).st_size, 0), type=Settings)
    finally:
        os.close(descriptor)


def load_settings(path: Path | None, directory: Path | None = None, log_level: str | None = None) -> Settings:
    """Read the file (`None`: the default place, built-in defaults when there is none).

    What is given beside it goes before the file's. Raises ConfigurationError, which names file, key, what was found and
    what is allowed.
    """
    sections = cast(dict[str, msgspec.Struct], load(path, SECTIONS))
    common = cast(Ringline, sections["ringline"])
    if log_level is not None:
        sections["ringline"] = msgspec.structs.replace(common, log_level=log_level)
    file = str(path or DEFAULT_PATH)
    signalling, operator = sections["signalling"], sections["operator"]
    assert isinstance(signalling, SignallingSection)
    assert isinstance(operator, OperatorSection)
    sections["signalling"] = with_certificate(with_tokens(signalling, "signalling", file), file)
    sections["operator"] = with_tokens(operator, "operator", file)
    return Settings(**sections, directory=str(directory or runtime_directory(common)))  # type: ignore[arg-type]
