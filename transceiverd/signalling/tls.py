"""TLS of the HTTPS listener: its context, and a certificate that can be replaced while the listener stands.

A listener is bound to one `ssl.SSLContext` for good. Loading another chain into it would leave it half-changed when the
key does not fit, and a chain of another key type would be served beside the new one; so each handshake is handed to the
newest context instead, by the callback for the server name, which is called with or without one (RFC 6066 3).
Connections that stand keep what they began with.
"""

import ssl


def server_context(certificate: str, key: str | None = None) -> ssl.SSLContext:
    """A TLS server context from PEM files: 1.2 or later, HTTP/1.1. Raises OSError, of which ssl.SSLError is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    return context


class LiveCertificate:
    """`context` is what to listen with; `replace` changes what it serves."""

    def __init__(self, certificate: str, key: str | None) -> None:
        """From PEM files. Raises OSError, of which ssl.SSLError is one."""
        self._current = server_context(certificate, key)
        self.context = server_context(certificate, key)
        self.context.sni_callback = self._choose

    def replace(self, certificate: str, key: str | None) -> None:
        """For handshakes from now on. Raises OSError, and then nothing changes."""
        self._current = server_context(certificate, key)

    def _choose(self, handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        handshake.context = self._current
