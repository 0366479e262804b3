"""The UDP sockets of the load generator, with the options that its packet path needs.

Called by `packets.pyx`. Every socket tells arrival times (SO_TIMESTAMPNS) and how many packets the kernel dropped for
want of room (SO_RXQ_OVFL), and has room for what comes while we are not running.
"""

import contextlib
import ipaddress
import socket

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

SHARED_NETWORK = int(ipaddress.IPv4Address("127.64.0.0"))  # /10: nobody's services are there
RECEIVE_BUFFER = 32 << 20  # bytes: about a second of 50,000 packets/s

SO_RCVBUFFORCE = 33  # asm-generic/socket.h
SO_TIMESTAMPNS = 35
SO_RXQ_OVFL = 40
IP_PKTINFO = 8  # linux/in.h


def open_shared() -> socket.socket:
    """One socket for all calls over IPv4 loopback; each call has an address of its own."""
    end = _open(socket.AF_INET)
    with contextlib.suppress(PermissionError):  # kernels before 5.7 keep it for root; strangers are dropped by address
        end.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
    end.bind(("0.0.0.0", 0))
    end.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    return end


def open_own(server: IPAddress, port: int) -> socket.socket:
    """A socket for one call, connected to its server."""
    end = _open(socket.AF_INET if server.version == 4 else socket.AF_INET6)
    end.connect((str(server), port))
    return end


def _open(family: socket.AddressFamily) -> socket.socket:
    end = socket.socket(family, socket.SOCK_DGRAM)
    end.setblocking(False)
    try:
        end.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)  # as much as rmem_max allows
    end.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    end.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
    return end
