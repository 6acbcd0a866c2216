"""Decisions about security rules: what is kept of what people write, in which order, and what is refused by name."""

from typing import Any

import msgspec
import pytest

from nano.domain import guest_rules as gp
from nano.domain.cloud_init import CloudInit
from nano.domain.errors import NanoError
from nano.domain.machine import MachineSpec
from nano.domain.security import ADDRESSES_MAX, RULES_MAX, SecurityPolicy, SecurityRule, in_words
from tests.unit.domain.test_guest_commands import Bench, create
from tests.unit.domain.test_guest_devices import code_of, wanted


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.ready("web")
    return bench


def policy(bench: Bench, command: Any) -> SecurityPolicy:
    """The guest's when that is done."""
    security = wanted(bench, command).security
    assert security is not None
    return security


def add(action: Any = "accept", **fields: Any) -> gp.AddRule:
    return gp.AddRule(guest="web", action=action, **fields)


def order(security: SecurityPolicy) -> list[int]:
    return [rule.port for rule in security.rules]


def test_a_guest_has_no_policy_until_it_is_given_one(bench: Bench) -> None:
    assert bench.zone.find_guest("web").spec.security is None
    assert policy(bench, gp.SetDefaultAction(guest="web", action="accept")) == SecurityPolicy()


def test_rules_come_last_or_before_another_move_and_go(bench: Bench) -> None:
    for port in (80, 443):
        policy(bench, add(protocol="tcp", port=port))
    assert order(policy(bench, add(protocol="tcp", port=22, before=1))) == [22, 80, 443]
    assert order(policy(bench, gp.MoveRule(guest="web", rule=1, place=3))) == [80, 443, 22]
    assert order(policy(bench, gp.MoveRule(guest="web", rule=3, place=2))) == [80, 22, 443]
    assert order(policy(bench, gp.RemoveRule(guest="web", rule=1))) == [22, 443]
    changed = policy(bench, gp.ModifyRule(guest="web", rule=2, action="drop", source="10.0.0.0/8"))
    assert changed.rules[1] == SecurityRule(action="drop", protocol="tcp", source="10.0.0.0/8", port=443)
    assert policy(bench, gp.SetDefaultAction(guest="web", action="drop")).rules == changed.rules


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("10.0.0.5/32", "10.0.0.5"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("", ""),
    ],
)
def test_a_source_has_one_spelling(bench: Bench, written: str, kept: str) -> None:
    assert policy(bench, add(source=written)).rules[0].source == kept


def test_a_range_of_one_port_is_a_port(bench: Bench) -> None:
    (rule,) = policy(bench, add(protocol="udp", port=53, last_port=53)).rules
    assert (rule.port, rule.last_port, in_words(rule)) == (53, 0, "udp 53 from anybody")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"protocol": "tcp", "port": -1}, "invalid_port"),
        ({"protocol": "tcp", "port": 65536}, "invalid_port"),
        ({"protocol": "tcp", "port": 10**30}, "invalid_port"),
        ({"protocol": "tcp", "port": 5, "last_port": 65536}, "invalid_last_port"),
        ({"protocol": "tcp", "port": 5, "last_port": 4}, "invalid_last_port"),
        ({"protocol": "tcp", "last_port": 4}, "invalid_port"),
        ({"protocol": "icmp", "port": 5}, "invalid_port"),
        ({"port": 5}, "invalid_port"),
        ({"source": "10.0.0.5/8"}, "invalid_source"),
        ({"source": "10.0.0.0/33"}, "invalid_source"),
        ({"source": "10.0.0"}, "invalid_source"),
        ({"source": "१०.0.0.1"}, "invalid_source"),
        ({"source": "fe80::1%eth0"}, "invalid_source"),
        ({"source": "1" * 10_000}, "invalid_source"),
        ({"source": "10.0.0.1;reboot"}, "invalid_source"),
        ({"source": "10.0.0.1\n"}, "invalid_source"),
        ({"source": "10.0.0.1\0"}, "invalid_source"),
        ({"source": "'/><rule action='accept'/>"}, "invalid_source"),
        ({"source": "../../etc/passwd"}, "invalid_source"),
        ({"before": 2}, "invalid_before"),
        ({"before": -1}, "invalid_before"),
    ],
)
def test_what_is_no_rule_is_refused_and_changes_nothing(bench: Bench, fields: dict[str, Any], code: str) -> None:
    policy(bench, add(protocol="udp", port=1))
    assert code_of(bench, add(**fields)) == code


def test_the_hint_of_a_network_with_host_bits_names_both_meanings(bench: Bench) -> None:
    with pytest.raises(NanoError) as refusal:
        bench.do(add(source="10.0.0.5/8"))
    assert "10.0.0.0/8" in refusal.value.hint


@pytest.mark.parametrize("number", [0, 2, -1, 10**30])
def test_only_rules_that_there_are_can_be_named(bench: Bench, number: int) -> None:
    policy(bench, add())
    assert code_of(bench, gp.RemoveRule(guest="web", rule=number)) == "invalid_rule"
    assert code_of(bench, gp.ModifyRule(guest="web", rule=number, action="drop")) == "invalid_rule"
    assert code_of(bench, gp.MoveRule(guest="web", rule=number, place=1)) == "invalid_rule"
    assert code_of(bench, gp.MoveRule(guest="web", rule=1, place=number)) == "invalid_place"
    assert code_of(bench, gp.ModifyRule(guest="web", rule=1)) == "nothing_to_change"


def test_two_rules_about_the_same_packets_are_refused(bench: Bench) -> None:
    policy(bench, add(protocol="tcp", port=22, source="10.0.0.1"))
    assert code_of(bench, add("drop", protocol="tcp", port=22, source="10.0.0.1/32")) == "duplicate_rule"
    policy(bench, add(protocol="tcp", port=22))
    assert code_of(bench, gp.ModifyRule(guest="web", rule=2, source="10.0.0.1")) == "duplicate_rule"


def test_rules_are_bounded(bench: Bench) -> None:
    full = SecurityPolicy(
        rules=tuple(SecurityRule(action="drop", protocol="tcp", port=n + 1) for n in range(RULES_MAX))
    )
    guest = bench.zone.find_guest("web")
    bench.zone.states[f"guest/{guest.id}"] = msgspec.structs.replace(
        guest, spec=msgspec.structs.replace(guest.spec, security=full)
    )
    assert code_of(bench, add()) == "too_many_rules"


@pytest.mark.parametrize(
    "addresses",
    [("10.0.0.5/24",), ("0.0.0.0",), ("224.0.0.1",), ("127.0.0.1",), ("::",), ("x",), ("10.0.0.5",) * (ADDRESSES_MAX + 1)],
)  # fmt: skip
def test_what_is_no_guests_address_is_refused(bench: Bench, addresses: tuple[str, ...]) -> None:
    assert code_of(bench, gp.SetAddresses(guest="web", addresses=addresses)) == "invalid_addresses"


def test_addresses_are_kept_once_and_taken_off_again(bench: Bench) -> None:
    given = ("10.0.0.5", "2001:DB8::5", "10.0.0.5")
    assert policy(bench, gp.SetAddresses(guest="web", addresses=given)).addresses == ("10.0.0.5", "2001:db8::5")
    assert policy(bench, gp.SetAddresses(guest="web")).addresses == ()


def test_a_guest_is_guarded_unless_it_is_said_otherwise(bench: Bench) -> None:
    assert not bench.zone.find_guest("web").spec.unguarded
    assert wanted(bench, gp.SetGuard(guest="web", guard="off")).unguarded
    off = bench.zone.find_guest("web").spec
    assert off.unguarded
    assert off.security is None, "that needs no filter"
    assert not wanted(bench, gp.SetGuard(guest="web", guard="on")).unguarded
    bench.do(create("gateway", unguarded=True))
    assert bench.zone.find_guest("gateway").spec.unguarded


def test_the_address_that_cloud_init_gives_is_its_own_until_others_are_given(bench: Bench) -> None:
    guest = bench.zone.find_guest("web")
    spec = msgspec.structs.replace(guest.spec, own_addresses=("10.0.0.5",))
    bench.zone.states[f"guest/{guest.id}"] = msgspec.structs.replace(guest, spec=spec)
    assert wanted(bench, gp.SetAddresses(guest="web")).own_addresses == ()
    told = CloudInit(address="2001:DB8::5/64")
    bench.do(create("addressed", cloud_init=told))
    assert bench.zone.find_guest("addressed").spec.own_addresses == ("2001:db8::5",)
    bench.do(create("free", cloud_init=CloudInit()))
    assert bench.zone.find_guest("free").spec.own_addresses == ()
    bench.do(create("both", cloud_init=told, policy=SecurityPolicy(addresses=("10.0.0.9",))))
    assert bench.zone.find_guest("both").spec.own_addresses == ()


def test_a_guest_without_a_policy_is_written_as_before() -> None:
    spec = MachineSpec(name="web", cores=1, memory=1, disks=(1,), mac="")
    assert b"security" not in msgspec.json.encode(spec)
    with_policy = msgspec.structs.replace(spec, security=SecurityPolicy(default="drop"))
    assert msgspec.json.decode(msgspec.json.encode(with_policy), type=MachineSpec) == with_policy
