"""All sections that transceiverd reads, loaded together."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from shm.daemon.common import Ringline
from shm.daemon.config import load
from transceiverd.config import ApplicationSection, TransceiverSection
from transceiverd.dtls.config import DtlsConfig
from transceiverd.ice.config import IceConfig
from transceiverd.media.config import Media
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


def load_settings(path: Path | None) -> Settings:
    """Read the file (`None`: the default place, built-in defaults when there is none).

    Raises ConfigurationError, which names file, key, what was found and what is allowed.
    """
    return Settings(**cast(dict[str, msgspec.Struct], load(path, SECTIONS)))  # type: ignore[arg-type]
