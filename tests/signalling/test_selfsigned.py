"""HTTPS with a certificate made for the run."""

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path

import aiohttp
from cryptography import x509

from tests.signalling.local_router import LocalRouter
from transceiverd.signalling.app import build_public_app
from transceiverd.signalling.config import SignallingSection
from transceiverd.signalling.guard import ConnectionGuard
from transceiverd.signalling.selfsigned import make_certificate
from transceiverd.signalling.server import HttpServer, open_tcp
from transceiverd.signalling.tls import server_context

ADDRESSES = [ipaddress.ip_address(text) for text in ("127.0.0.1", "192.168.0.7", "fd00::7")]


def test_selfsigned_names_every_address() -> None:
    now = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
    made = make_certificate(ADDRESSES, ["localhost", "kitchen"], now)
    certificate = x509.load_pem_x509_certificate(made.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == ADDRESSES
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "kitchen"]
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc < datetime.timedelta(days=398)


def test_selfsigned_serves_a_client_that_trusts_it(tmp_path: Path) -> None:
    made = make_certificate(ADDRESSES)
    trusting = ssl.create_default_context(cadata=made.certificate.decode())
    (tmp_path / "both.pem").write_bytes(made.key + made.certificate)
    context = server_context(str(tmp_path / "both.pem"))

    async def run() -> None:
        server = HttpServer(build_public_app(SignallingSection(), LocalRouter()), ConnectionGuard(4, 10.0))
        end = open_tcp("127.0.0.1", 0)
        port = end.getsockname()[1]
        await server.start()
        await server.listen(end, context)
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"https://127.0.0.1:{port}/healthz", ssl=trusting) as response,
            ):
                assert response.status == 200
        finally:
            await server.stop()

    asyncio.run(run())
