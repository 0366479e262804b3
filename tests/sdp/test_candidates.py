"""Advertised addresses and the candidates made of them."""

import ipaddress
from pathlib import Path

import pytest
from aioice import Candidate as Oracle

from transceiverd import candidates
from transceiverd.candidates import CANDIDATES_MAX, advertised_addresses, host_candidates, order_addresses


def addresses(*texts: str) -> list[candidates.IPAddress]:
    """Texts as addresses."""
    return [ipaddress.ip_address(text) for text in texts]


def test_candidates_order_interleaves_and_puts_loopback_last() -> None:
    mixed = addresses("127.0.0.1", "10.0.0.5", "fd00::5", "::1", "1.2.3.4", "2001:4860::1", "10.0.0.5")
    assert [str(each) for each in order_addresses(mixed)] == [
        *["2001:4860::1", "1.2.3.4", "fd00::5", "10.0.0.5"],
        *["127.0.0.1", "::1"],
    ]


def test_candidates_lines_are_what_an_agent_reads() -> None:
    """RFC 8839 5.1 by aioice's parser, RFC 8445 5.1.2 for the priorities."""
    made = host_candidates(addresses("2001:db8::1", "192.0.2.1", "127.0.0.1"), 3478)
    read = [Oracle.from_sdp(str(each)) for each in made]
    assert [each.host for each in read] == ["2001:db8::1", "192.0.2.1", "127.0.0.1"]
    assert {(each.component, each.transport, each.port, each.type) for each in read} == {(1, "udp", 3478, "host")}
    priorities = [each.priority for each in read]
    assert priorities == sorted(priorities, reverse=True)
    assert len(set(priorities)) == 3
    assert all(each >> 24 == 126 and each & 0xFF == 255 for each in priorities)
    assert len({each.foundation for each in read}) == 3


def test_candidates_are_the_same_for_every_call() -> None:
    made = host_candidates(addresses("192.0.2.1", "10.0.0.1"), 3478)
    assert made == host_candidates(addresses("192.0.2.1", "10.0.0.1"), 3478)
    other = host_candidates(addresses("10.0.0.1"), 3478)
    assert other[0].foundation == made[1].foundation, "the foundation belongs to the address, not to its place"


def test_candidates_auto_finds_loopback_and_nothing_unfit() -> None:
    found = advertised_addresses()
    assert ipaddress.ip_address("127.0.0.1") in found
    assert all(candidates.is_advertisable(each) for each in found)
    assert found == advertised_addresses(["auto"])


def test_candidates_configured() -> None:
    assert advertised_addresses(["203.0.113.9"]) == addresses("203.0.113.9")
    both = advertised_addresses(["auto", "203.0.113.9"])
    assert set(both) == {*advertised_addresses(), *addresses("203.0.113.9")}


def test_candidates_one_to_one_nat_stands_for_the_local_address() -> None:
    mapped = advertised_addresses(["auto", "203.0.113.7=127.0.0.1", "2001:db8::7=::1"])
    assert set(mapped) == {*advertised_addresses(), *addresses("203.0.113.7", "2001:db8::7")} - set(
        addresses("127.0.0.1", "::1")
    )
    assert advertised_addresses(["203.0.113.7=10.0.0.5"]) == addresses("203.0.113.7")
    assert candidates.missing_locals(["auto", "203.0.113.7=127.0.0.1", "203.0.113.8=192.0.2.200"]) == [
        "203.0.113.8=192.0.2.200"
    ]


def test_candidates_are_those_that_the_relay_listens_on() -> None:
    assert advertised_addresses((), "127.0.0.1", "") == addresses("127.0.0.1")
    assert advertised_addresses(["203.0.113.7", "2001:db8::7"], "0.0.0.0", "") == addresses("203.0.113.7")
    assert advertised_addresses(["203.0.113.7=10.0.0.5", "203.0.113.8=10.0.0.6"], "10.0.0.6", "::") == addresses(
        "203.0.113.8"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [("203.0.113.7=::1", "other family"), ("203.0.113.7=", "IP address"), ("=10.0.0.5", "IP address"),
     ("203.0.113.7=10.0.0.5=10.0.0.6", "IP address"), ("203.0.113.7=auto", "IP address")],
)  # fmt: skip
def test_candidates_refuse_a_mapping_that_cannot_be(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        advertised_addresses([text])


@pytest.mark.parametrize("text", ["localhost", "fe80::1", "169.254.1.1", "0.0.0.0", "::", "224.0.0.1", "1.2.3", ""])
def test_candidates_refuse_what_cannot_be_advertised(text: str) -> None:
    with pytest.raises(ValueError, match=r"auto|advertised"):
        advertised_addresses([text])


def test_candidates_are_bounded() -> None:
    many = [ipaddress.ip_address(f"10.0.{high}.{low}") for high in range(4) for low in range(200)]
    assert len(order_addresses(many)) == CANDIDATES_MAX


def test_candidates_leave_out_temporary_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags as the kernel prints them: permanent, temporary, deprecated, tentative."""
    lines = [
        "20010db8000000000000000000000001 02 40 00 80     eth0",
        "20010db8000000000000000000000002 02 40 00 01     eth0",
        "20010db8000000000000000000000003 02 40 00 20     eth0",
        "20010db8000000000000000000000004 02 40 00 40     eth0",
    ]
    table = tmp_path / "if_inet6"
    table.write_text("\n".join(lines))
    monkeypatch.setattr(candidates, "INTERFACE_FLAGS", table)
    assert sorted(map(str, candidates._unfit_addresses())) == ["2001:db8::2", "2001:db8::3", "2001:db8::4"]
