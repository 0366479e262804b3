"""The relay: worker processes that read packet headers only and hand packets to the transceiver that owns the call."""
