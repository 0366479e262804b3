"""ICE: the STUN codec, the lite agent of a call, and the controlling agent of a client. See README.md."""
