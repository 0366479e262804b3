"""SCTP over DTLS and WebRTC data channels, sans-I/O: `association.Association` is the way in (README.md)."""
