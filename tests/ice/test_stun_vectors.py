"""The published vectors: RFC 5769 2.1 to 2.4, and RFC 8489 B.1 as erratum 6268 corrects it."""

import hashlib
from ipaddress import ip_address
from types import ModuleType

import pytest

from shm.flowkey import pack_address
from tests.twins import load_both

# Under short-term credentials, RFC 5769 2.
PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"

REQUEST = bytes.fromhex(
    "00010058 2112a442 b7e7a701 bc34d686 fa87dfae 80220010 5354554e 20746573 7420636c 69656e74 00240004 6e0001ff"
    "80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020 00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249"
    "c1b571a2 80280004 e57a3bcf"
)
RESPONSE_IPV4 = bytes.fromhex(
    "0101003c 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200008 0001a147 e112a643"
    "00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96"
)
RESPONSE_IPV6 = bytes.fromhex(
    "01010048 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200014 0002a147 0113a9fa"
    "a5d3f179 bc25f4b5 bed2b9d9 00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c"
)
# Under long-term credentials: the same user, realm and password in two generations of the mechanism.
USER, REALM, LONG_TERM_PASSWORD = "マトリックス", "example.org", "TheMatrIX"

REQUEST_LONG_TERM = bytes.fromhex(
    "00010060 2112a442 78ad3433 c6ad72c0 29da412e 00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000 0015001c"
    "662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341 0014000b 6578616d 706c652e 6f726700 00080014"
    "f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666"
)
REQUEST_SHA256 = bytes.fromhex(
    "00010090 2112a442 78ad3433 c6ad72c0 29da412e 001e0020 4a3cf38f ef6992bd a952c678 0417da0f 24819415 569e60b2"
    "05c46e41 407f1704 00150029 6f624d61 744a6f73 32414141 43662f2f 3439396b 39353464 364f4c33 346f4c39 46535476"
    "79363473 41000000 0014000b 6578616d 706c652e 6f726700 001d0004 00020000 001c0020 b5c7bf00 5b6c52a2 1c51c5e8"
    "92f81924 136296cb 927c4314 9309278c c6518e65"
)

STUN = pytest.mark.parametrize("stun", load_both("transceiverd.ice.stun"), ids=lambda module: module.__name__)


@STUN
def test_stun_reads_and_verifies_the_request_of_rfc_5769(stun: ModuleType) -> None:
    message = stun.parse(REQUEST)
    assert message.message_class == stun.REQUEST
    assert message.username == b"evtj:h6vY"
    assert message.priority == 0x6E0001FF
    assert message.controlled == 0x932FF9B151263B36
    assert message.others == ((stun.SOFTWARE, b"STUN test client"),)
    assert message.fingerprint
    assert message.verify(PASSWORD)
    assert not message.verify(PASSWORD + b"x")


@STUN
@pytest.mark.parametrize(
    ("data", "address"), [(RESPONSE_IPV4, "192.0.2.1"), (RESPONSE_IPV6, "2001:db8:1234:5678:11:2233:4455:6677")]
)
def test_stun_reads_and_verifies_the_responses_of_rfc_5769(stun: ModuleType, data: bytes, address: str) -> None:
    message = stun.parse(data)
    assert message.message_class == stun.SUCCESS
    assert message.xor_mapped_address == (pack_address(ip_address(address)), 32853)
    assert message.verify(PASSWORD)


@STUN
def test_stun_verifies_the_long_term_request_of_rfc_5769(stun: ModuleType) -> None:
    key = hashlib.md5(f"{USER}:{REALM}:{LONG_TERM_PASSWORD}".encode()).digest()
    message = stun.parse(REQUEST_LONG_TERM)
    assert message.username == USER.encode()
    assert message.verify(key)
    assert not message.fingerprint


@STUN
def test_stun_verifies_the_sha256_request_of_rfc_8489(stun: ModuleType) -> None:
    key = hashlib.sha256(f"{USER}:{REALM}:{LONG_TERM_PASSWORD}".encode()).digest()
    message = stun.parse(REQUEST_SHA256)
    assert message.integrity is None
    assert message.verify(key)
    assert not message.verify(b"another")
    # USERHASH, NONCE, REALM and PASSWORD-ALGORITHM are RFC 8489's own: nobody may be told 420 about them.
    assert message.unknown_required() == []
    assert stun.parse(message.serialize()) == message
