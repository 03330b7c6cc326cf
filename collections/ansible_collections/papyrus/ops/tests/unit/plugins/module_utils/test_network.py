# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Security groups, CIDRs and subnets as rules (B5, B8, C1)."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _network
from ansible_collections.papyrus.ops.plugins.module_utils._preflight_db import judge_inbound
from hypothesis import given
from hypothesis import strategies as st

TASKS = "sg-task"
PORT = 5432


def rule(source: str, low: int | None = PORT, high: int | None = PORT, protocol: str = "tcp", **more: Any) -> Any:
    made: dict[str, Any] = {"SecurityGroupRuleId": "sgr-1", "GroupId": "sg-db", "IsEgress": False}
    made.update({"IpProtocol": protocol, "FromPort": low, "ToPort": high}, **more)
    if source.startswith("sg-"):
        made["ReferencedGroupInfo"] = {"GroupId": source}
    elif source.startswith("pl-"):
        made["PrefixListId"] = source
    else:
        made["CidrIpv6" if ":" in source else "CidrIpv4"] = source
    return made


ADMIT = rule(TASKS, SecurityGroupRuleId="sgr-0")


@pytest.mark.parametrize(
    "bad",
    [
        rule("10.0.0.0/8"),
        rule("0.0.0.0/0", 0, 65535),
        rule("::/0"),
        rule("pl-1"),
        rule("sg-other"),
        rule("10.0.0.1/32", -1, -1, "-1"),
        rule("10.0.0.1/32", 5000, 6000),
        rule("10.0.0.1/32", protocol="6"),
    ],
)
def test_B5_anybody_but_tasks_and_allowlist_is_named_with_the_rules_id(bad: Any) -> None:
    finding = judge_inbound([ADMIT, bad], ["sg-db"], PORT, [TASKS], [])
    assert finding.status == "ng"
    assert "sgr-1 in sg-db" in finding.reason
    assert finding.data["offending"] == ["sgr-1"]


@pytest.mark.parametrize(
    "harmless",
    [
        rule("0.0.0.0/0", 5433, 5433),
        rule("0.0.0.0/0", 1, 5431),
        rule("0.0.0.0/0", protocol="udp"),
        rule("0.0.0.0/0", IsEgress=True),
    ],
)
def test_B5_rules_that_do_not_reach_the_port_do_not_count(harmless: Any) -> None:
    assert judge_inbound([ADMIT, harmless], ["sg-db"], PORT, [TASKS], []).status == "ok"


@pytest.mark.parametrize(
    ("source", "allowlist"),
    [
        ("127.0.0.1/32", ["127.0.0.1/32"]),
        ("10.1.2.0/24", ["10.1.0.0/16"]),
        ("sg-bastion", ["sg-bastion"]),
        ("pl-1", ["pl-1"]),
        ("2001:db8::/64", ["2001:db8::/32"]),
    ],
)
def test_B5_the_allowlist_admits_what_it_contains(source: str, allowlist: list[str]) -> None:
    assert judge_inbound([ADMIT, rule(source)], ["sg-db"], PORT, [TASKS], allowlist).status == "ok"
    assert judge_inbound([ADMIT, rule(source)], ["sg-db"], PORT, [TASKS], []).status == "ng"


def test_B5_a_wider_range_than_the_allowlist_is_an_offence() -> None:
    assert judge_inbound([ADMIT, rule("10.0.0.0/15")], ["sg-db"], PORT, [TASKS], ["10.0.0.0/16"]).status == "ng"


def test_B5_without_a_rule_for_the_tasks_it_is_ng() -> None:
    finding = judge_inbound([], ["sg-db"], PORT, [TASKS], [])
    assert (finding.status, finding.reason) == ("ng", "no rule of sg-db lets sg-task reach port 5432")


@pytest.mark.parametrize("entry", ["0.0.0.0/0", "::/0", "nonsense", "10.0.0.1/8"])
def test_B5_an_allowlist_that_allows_all_or_cannot_be_read_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=entry.split("/", maxsplit=1)[0]):
        _network.split_allowlist([entry])


addresses = st.integers(0, 2**32 - 1)
networks = st.builds(
    lambda address, bits: ipaddress.IPv4Network((address, bits), strict=False), addresses, st.integers(1, 32)
)


@given(networks, networks)
def test_B5_a_cidr_is_allowed_exactly_when_all_its_addresses_are(
    source: ipaddress.IPv4Network, allowed: ipaddress.IPv4Network
) -> None:
    finding = judge_inbound([ADMIT, rule(str(source))], ["sg-db"], PORT, [TASKS], [str(allowed)])
    all_inside = source.network_address in allowed and source.broadcast_address in allowed
    assert (finding.status == "ok") == all_inside


@given(st.integers(0, 65535), st.integers(0, 65535), st.sampled_from(["tcp", "6", "udp", "17", "icmp", "-1"]))
def test_B5_a_rule_covers_the_port_exactly_when_tcp_can_pass(low: int, high: int, protocol: str) -> None:
    covers = _network.covers_port(rule("10.0.0.0/8", low, high, protocol), PORT)
    assert covers == (protocol == "-1" or (protocol in {"tcp", "6"} and low <= PORT <= high))


@given(st.lists(st.sampled_from([TASKS, "sg-a", "sg-b", "pl-1", "10.0.0.0/24", "::1/128"]), max_size=6))
def test_B5_only_rules_outside_the_allowlist_are_offending(sources: list[str]) -> None:
    rules = [rule(source, SecurityGroupRuleId=f"sgr-{number}") for number, source in enumerate(sources)]
    finding = judge_inbound(rules, ["sg-db"], PORT, [TASKS], ["sg-a", "10.0.0.0/16"])
    expected = [f"sgr-{n}" for n, source in enumerate(sources) if source not in {TASKS, "sg-a", "10.0.0.0/24"}]
    assert finding.data["offending"] == expected


@pytest.mark.parametrize(
    "cidrs", [[], ["0.0.0.0/0"], ["::/0"], ["0.0.0.0/1", "128.0.0.0/1"], ["7.0.0.0/7"], ["10.0.0.1/24"], ["x"]]
)
def test_C1_the_whole_internet_nobody_and_nonsense_are_refused(cidrs: list[str]) -> None:
    assert _network.refused_cidrs(cidrs)


@pytest.mark.parametrize("cidrs", [["127.0.0.1/32"], ["10.0.0.0/8", "203.0.113.7/32"], ["2001:db8::/48"]])
def test_C1_named_addresses_are_taken(cidrs: list[str]) -> None:
    assert _network.refused_cidrs(cidrs) == []


def subnet(name: str, zone: str, **more: Any) -> dict[str, Any]:
    return {"SubnetId": name, "AvailabilityZone": zone, "VpcId": "vpc-1", "AvailableIpAddressCount": 250, **more}


TO_INTERNET = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1", "State": "active"}
MAIN = {"VpcId": "vpc-1", "Associations": [{"Main": True}], "Routes": [TO_INTERNET]}
GOOD = [subnet("subnet-a", "a"), subnet("subnet-b", "b")]


def problems(subnets: list[Any], tables: list[Any] | None = None, facing: bool = True, vpc: str = "vpc-1") -> str:
    wanted = [item["SubnetId"] for item in subnets]
    return "; ".join(_network.subnet_problems(wanted, subnets, [MAIN] if tables is None else tables, vpc, facing))


def test_B8_two_zones_with_a_route_to_the_internet_are_good() -> None:
    assert problems(GOOD) == ""


def test_B8_one_zone_is_not_enough() -> None:
    assert "two zones" in problems([subnet("subnet-a", "a"), subnet("subnet-b", "a")])


def test_B8_two_subnets_in_one_of_two_zones_are_refused() -> None:
    assert "same zone a" in problems([*GOOD, subnet("subnet-c", "a")])


def test_B8_another_vpc_than_the_tasks_is_named() -> None:
    assert "subnet-a is in vpc-1, the task in vpc-2" in problems(GOOD, vpc="vpc-2")


def test_B8_an_own_table_without_the_route_wins_over_the_main_one() -> None:
    own = {"VpcId": "vpc-1", "Associations": [{"SubnetId": "subnet-b"}], "Routes": []}
    text = problems(GOOD, [MAIN, own])
    assert "subnet-b has no default route to an internet gateway" in text
    assert "subnet-a" not in text


@pytest.mark.parametrize(
    "change", [{"GatewayId": "nat-1"}, {"State": "blackhole"}, {"DestinationCidrBlock": "10.0.0.0/8"}]
)
def test_B8_only_an_active_default_route_to_an_internet_gateway_counts(change: dict[str, str]) -> None:
    table = {**MAIN, "Routes": [{**TO_INTERNET, **change}]}
    assert "internet gateway" in problems(GOOD, [table])
    assert problems(GOOD, [table], facing=False) == ""


def test_B8_missing_subnets_and_full_ones_are_named() -> None:
    text = "; ".join(_network.subnet_problems(["subnet-a", "subnet-x"], GOOD, [MAIN], "vpc-1", True))
    assert "no such subnet: subnet-x" in text
    assert "3 free addresses" in problems([subnet("subnet-a", "a", AvailableIpAddressCount=3), GOOD[1]])
