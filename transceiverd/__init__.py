"""The transceivers: a few processes that own ICE, DTLS, SRTP, data channels and signalling of every call."""
