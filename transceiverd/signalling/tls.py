"""The HTTPS listener's certificate, which can be replaced while the listener stands.

A listener is bound to one `ssl.SSLContext` for good. Loading another chain into it would leave it half-changed when the
key does not fit, and a chain of another key type would be served beside the new one; so each handshake is handed to the
newest context instead, by the callback for the server name, which is called with or without one (RFC 6066 3).
Connections that stand keep what they began with.
"""

import ssl

from transceiverd.signalling.selfsigned import server_context


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
