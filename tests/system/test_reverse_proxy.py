"""Ringline behind a real reverse proxy, by the README's recipe: HTTPS outside, the client's own address inside."""

import http.client
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shm.daemon.orders import Order, give_order
from tests.bottle import CLIENT_CONTEXT, CLIENT_PASSWORD, CLIENT_UFRAG, OPUS, fingerprints
from tests.daemons import Server, free_port, running, wait_for
from tests.udp_caller import OFFER
from transceiverd.signalling.selfsigned import make_certificate

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
CLIENT = "127.0.0.5"
OTHER_CLIENT = "127.0.0.6"

lacking = pytest.mark.skipif(NGINX is None, reason="needs nginx: .ci/setup system installs it for root")
pytestmark = [pytest.mark.system, lacking]

# The three lines of `location` are the README's.
CONFIGURATION = """
daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log; worker_processes 1;
events {{ }}
http {{
  access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {directory}/chain.pem; ssl_certificate_key {directory}/key.pem;
    location / {{
      proxy_pass http://127.0.0.1:{http};
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[Server, int]]:
    """A server behind nginx, and nginx's port."""
    assert NGINX is not None
    made = make_certificate([], ["calls.example"])
    (tmp_path / "chain.pem").write_bytes(made.certificate)
    (tmp_path / "key.pem").write_bytes(made.key)
    port = free_port(socket.SOCK_STREAM)
    with running() as server:
        text = server.config.read_text()
        recipe = 'proxies = ["127.0.0.1"]\nhosts = ["calls.example"]'
        bounds = "calls_per_address_max = 1\nunlimited = []"
        server.config.write_text(text.replace("[signalling]", f"[signalling]\n{recipe}\n{bounds}"))
        assert give_order(server.directory, "transceiverd", Order("reload"), 30).done
        configuration = CONFIGURATION.format(directory=tmp_path, port=port, http=server.http_port)
        (tmp_path / "nginx.conf").write_text(configuration)
        with subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]) as proxy:
            try:
                wait_for(lambda: ask(port, "GET", "/healthz")[0] == 200, "nginx serves")
                yield server, port
            finally:
                proxy.terminate()


def ask(port: int, method: str, path: str, body: str = "", client: str = CLIENT, **headers: str) -> tuple[int, str]:
    """One request from the address `client`; gives status and body."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusting, source_address=(client, 0), timeout=5)
    try:
        named = {"Host": "calls.example", **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection.request(method, path, body, named)
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def offer() -> str:
    return OFFER.format(
        opus=OPUS, ufrag=CLIENT_UFRAG, password=CLIENT_PASSWORD, setup="actpass",
        fingerprint=fingerprints(CLIENT_CONTEXT)[0],
    ).replace("\n", "\r\n")  # fmt: skip


def test_proxy_passes_calls_with_the_clients_own_address_and_host(proxied: tuple[Server, int]) -> None:
    server, port = proxied
    place = ("POST", "/v1/realtime/calls", offer())
    status, answer = ask(port, *place, Content_Type="application/sdp")
    assert (status, answer[:3]) == (201, "v=0")
    assert f"placed by {CLIENT} " in server.log.read_text()
    # The bound for one address is the client's behind the proxy, and a forged header does not move it.
    assert ask(port, *place, Content_Type="application/sdp")[0] == 429
    forged = {"Content_Type": "application/sdp", "X_Forwarded_For": "203.0.113.1"}
    assert ask(port, *place, **forged)[0] == 429
    assert ask(port, *place, client=OTHER_CLIENT, Content_Type="application/sdp")[0] == 201
    # Another name than ours, against DNS rebinding: the proxy passes it on, and it is refused.
    assert ask(port, "GET", "/healthz", Host="rebound.example")[0] == 421
