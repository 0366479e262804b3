"""All workers share one port, nobody else does, and whoever cannot have it is told who can."""

import logging
import os
import socket
from pathlib import Path

import pytest

from relayd import sockets
from relayd.sockets import AddressAbsent, BindRefused, PortTaken, PublicSockets, open_sockets

BUFFER = 65536


def open_local(workers: int = 2, port: int = 0, port_search: int = 0, bind6: str = "::1") -> PublicSockets:
    return open_sockets(
        workers, port=port, port_search=port_search, bind4="127.0.0.1", bind6=bind6, receive_buffer_bytes=BUFFER
    )


def test_sockets_of_all_workers_and_families_share_the_port() -> None:
    with open_local(workers=3) as public:
        ports = {sock.getsockname()[1] for pair in public.workers for sock in (pair.v4, pair.v6) if sock is not None}
        assert ports == {public.port}
        assert all(fd >= 0 for pair in public.workers for fd in pair.fds)
        assert public.has_ipv6


def test_sockets_share_the_packets() -> None:
    """The kernel spreads clients over all workers, also over the socket that bound first and alone."""
    with open_local(workers=3) as public:
        for _ in range(200):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"x", ("127.0.0.1", public.port))
        got = [_drain(pair.v4) for pair in public.workers]
        assert sum(got) == 200
        assert all(count > 0 for count in got)


def _drain(sock: socket.socket | None) -> int:
    assert sock is not None
    count = 0
    try:
        while sock.recv(16):
            count += 1
    except BlockingIOError:
        return count
    return count


@pytest.mark.parametrize("workers", [1, 3])
def test_sockets_second_relay_of_the_same_user_is_kept_out(workers: int) -> None:
    """SO_REUSEPORT alone would let it join and take half of all packets."""
    with open_local(workers=workers) as public, pytest.raises(PortTaken) as caught:
        open_local(workers=workers, port=public.port)
    assert f"process {os.getpid()} (" in str(caught.value)
    assert str(public.port) in str(caught.value)
    assert "port_search" in str(caught.value)


def test_sockets_foreign_socket_on_ipv6_alone_keeps_the_port_too() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
        other.bind(("::1", 0))
        with pytest.raises(PortTaken):
            open_local(port=other.getsockname()[1])


def test_sockets_search_goes_on_to_the_next_free_port(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with open_local() as first, open_local(port=first.port, port_search=20) as second:
        assert first.port < second.port <= first.port + 20
    assert f"UDP port {first.port} is taken by process {os.getpid()}" in caplog.text


def test_sockets_search_that_finds_nothing_names_the_range() -> None:
    with open_local() as first, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", first.port + 1))
        with pytest.raises(PortTaken, match=f"every UDP port from {first.port} to {first.port + 1} is taken"):
            open_local(port=first.port, port_search=1)


def test_sockets_failure_leaves_nothing_open() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with open_local() as public:
        before = descriptors()
        with pytest.raises(PortTaken):
            open_local(port=public.port)
        assert descriptors() == before


def test_sockets_foreign_address_names_its_key() -> None:
    with pytest.raises(AddressAbsent, match=r"\[relay\] bind4 = '192\.0\.2\.1'"):
        open_sockets(1, port=0, port_search=0, bind4="192.0.2.1", bind6="", receive_buffer_bytes=BUFFER)


def test_sockets_need_an_address() -> None:
    with pytest.raises(BindRefused, match="bind4 and bind6 are both empty"):
        open_sockets(1, port=0, port_search=0, bind4="", bind6="", receive_buffer_bytes=BUFFER)


def test_sockets_family_can_be_switched_off() -> None:
    with open_local(bind6="") as public:
        assert all(pair.fds[1] == -1 for pair in public.workers)
        assert not public.has_ipv6
    with open_sockets(1, port=0, port_search=0, bind4="", bind6="::1", receive_buffer_bytes=BUFFER) as public:
        assert public.workers[0].fds[0] == -1


def test_sockets_machine_without_ipv6_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = sockets._bound

    def without_ipv6(family: int, address: str, port: int, *, share: bool = False) -> socket.socket:
        if family == socket.AF_INET6:
            raise BindRefused("Address family not supported by protocol", 97)
        return real(family, address, port, share=share)

    monkeypatch.setattr(sockets, "_bound", without_ipv6)
    with caplog.at_level(logging.WARNING), open_local(bind6="::") as public:
        assert public.workers[0].v6 is None
    assert "no IPv6" in caplog.text


def test_sockets_small_receive_buffer_is_a_warning_with_both_numbers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def limited(_sock: socket.socket, _asked: int) -> int:
        return 212992

    monkeypatch.setattr(sockets, "_enlarge_receive_buffer", limited)
    with caplog.at_level(logging.WARNING), open_local(workers=2):
        pass
    assert caplog.text.count("receive buffers are 212992 bytes, not the 65536") == 0
    with (
        caplog.at_level(logging.WARNING),
        open_sockets(2, port=0, port_search=0, bind4="127.0.0.1", bind6="", receive_buffer_bytes=4 << 20),
    ):
        pass
    assert caplog.text.count("receive buffers are 212992 bytes, not the 4194304") == 1
    assert "net.core.rmem_max" in caplog.text


def test_sockets_carry_what_the_worker_reads() -> None:
    with open_local() as public:
        for pair in public.workers:
            assert pair.v4 is not None
            assert pair.v6 is not None
            assert pair.v4.getsockopt(socket.IPPROTO_IP, sockets.IP_PKTINFO) == 1
            assert pair.v4.getsockopt(socket.IPPROTO_IP, sockets.IP_RECVTOS) == 1
            assert pair.v6.getsockopt(socket.IPPROTO_IPV6, sockets.IPV6_RECVPKTINFO) == 1
            assert pair.v6.getsockopt(socket.IPPROTO_IPV6, sockets.IPV6_RECVTCLASS) == 1
            assert pair.v6.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
            for sock in (pair.v4, pair.v6):
                assert sock.getsockopt(socket.SOL_SOCKET, sockets.SO_RXQ_OVFL) == 1
                assert not sock.getblocking()
