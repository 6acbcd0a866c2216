"""A whole security policy, as people write it and as it is kept, and what guests get of it when they are made."""

from typing import Any

import msgspec
import pytest

from nano.domain import batch as ba
from nano.domain import template as te
from nano.domain.ability import PACKET_FILTER, Ability
from nano.domain.cell import DescribeCell
from nano.domain.errors import NanoError, NoCapacity
from nano.domain.machine import MEBI
from nano.domain.security import RULES_MAX, SecurityPolicy, SecurityRule, in_words, read_policy
from nano.domain.zone import StockTemplates
from tests.unit.domain.test_guest_commands import Bench, create

DROP = SecurityPolicy(default="drop", rules=(SecurityRule(action="accept", protocol="tcp", port=22),))
OPEN = SecurityPolicy()


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.do(StockTemplates())
    return bench


def security(bench: Bench, **changes: Any) -> SecurityPolicy | None:
    bench.do(create(**changes))
    return bench.zone.find_guest("web").spec.security


def test_a_policy_is_read_from_lines() -> None:
    lines = ["drop", "", " accept  tcp 22 from 10.0.0.5/32 ", "accept udp 80-89", "drop from 2001:DB8::/32", "accept icmp",
             "accept any from anybody", "address 10.0.0.5"]  # fmt: skip
    policy = read_policy(lines)
    assert (policy.default, policy.addresses) == ("drop", ("10.0.0.5",))
    assert [f"{rule.action} {in_words(rule)}" for rule in policy.rules] == [
        "accept tcp 22 from 10.0.0.5",
        "accept udp 80-89 from anybody",
        "drop any from 2001:db8::/32",
        "accept icmp from anybody",
        "accept any from anybody",
    ]
    assert (
        read_policy([policy.default, *(f"{rule.action} {in_words(rule)}" for rule in policy.rules)]).rules
        == policy.rules
    )
    assert read_policy([]) == OPEN


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("reject tcp 22", "invalid_policy"),
        ("accept tcp ssh", "invalid_policy"),
        ("accept tcp 22 from", "invalid_policy"),
        ("accept tcp 22; reboot", "invalid_policy"),
        ("accept tcp ٢٢", "invalid_policy"),
        ("accept " * 10_000, "invalid_policy"),
        ("address", "invalid_policy"),
        ("accept tcp 99999", "invalid_port"),
        ("accept 22", "invalid_port"),
        ("accept tcp 9-8", "invalid_last_port"),
        ("drop from 10.0.0.5/8", "invalid_source"),
        ("address 127.0.0.1", "invalid_addresses"),
    ],
)
def test_a_line_that_is_no_rule_is_refused(line: str, code: str) -> None:
    with pytest.raises(NanoError) as refused:
        read_policy(["drop", line])
    assert refused.value.code == code
    assert len(refused.value.message) < 200


def test_the_rest_is_spoken_of_once() -> None:
    with pytest.raises(NanoError, match="twice"):
        read_policy(["drop", "accept"])


def test_a_guest_has_its_policy_from_the_beginning_as_it_is_kept(bench: Bench) -> None:
    wide = SecurityRule(action="accept", source="10.0.0.0/255.0.0.0")
    policy = security(bench, policy=SecurityPolicy(default="drop", rules=(wide,), addresses=("2001:DB8::5",)))
    assert policy is not None
    assert (policy.default, policy.rules[0].source, policy.addresses) == ("drop", "10.0.0.0/8", ("2001:db8::5",))


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (SecurityPolicy(addresses=("x",)), "invalid_addresses"),
        (SecurityPolicy(rules=(SecurityRule(action="drop", port=1),)), "invalid_port"),
        (SecurityPolicy(rules=(SecurityRule(action="drop"), SecurityRule(action="accept"))), "duplicate_rule"),
        (
            SecurityPolicy(
                rules=tuple(SecurityRule(action="drop", protocol="tcp", port=n + 1) for n in range(RULES_MAX + 1))
            ),
            "too_many_rules",
        ),
    ],
)
def test_a_policy_that_is_none_changes_nothing(bench: Bench, policy: SecurityPolicy, code: str) -> None:
    for command in (
        create(policy=policy),
        te.CreateTemplate(name="New", policy=policy),
        te.ModifyTemplate(template="General", policy=policy),
        ba.CreateBatch(prefix="web", count=2, memory=64 * MEBI, disks=(MEBI,), policy=policy),
    ):
        before = dict(bench.zone.states)
        with pytest.raises(NanoError) as refused:
            bench.do(command)
        assert refused.value.code == code
        assert bench.zone.states == before


def test_a_templates_policy_is_its_guests_unless_they_have_one(bench: Bench) -> None:
    bench.do(te.CreateTemplate(name="Web", policy=DROP))
    assert security(bench, template="Web") == DROP
    assert security(bench, name="other", template="Web", policy=OPEN) is not None
    assert bench.zone.find_guest("other").spec.security == OPEN
    bench.do(te.ModifyTemplate(template="Web", admin="web"))
    assert te.find_template(bench.zone, "Web").policy == DROP, "what is left out stays"
    bench.do(te.ModifyTemplate(template="Web", policy=OPEN))
    assert te.find_template(bench.zone, "Web").policy == OPEN
    bench.do(te.ModifyTemplate(template="Web", no_policy=True))
    assert te.find_template(bench.zone, "Web").policy is None
    assert bench.zone.find_guest("web").spec.security == DROP
    with pytest.raises(NanoError, match="and none"):
        bench.do(te.ModifyTemplate(template="Web", policy=OPEN, no_policy=True))


def test_each_guest_of_a_batch_has_it(bench: Bench) -> None:
    events = bench.do(ba.CreateBatch(prefix="web", count=2, memory=64 * MEBI, disks=(MEBI,), policy=DROP))
    task = events[0].resource.removeprefix("task/")
    for number in (0, 1):
        bench.do(ba.BeginItem(task=task, number=number))
        assert bench.zone.find_guest(f"web_{number}").spec.security == DROP


def test_a_cell_that_filters_nothing_takes_no_guest_with_a_policy(bench: Bench) -> None:
    abilities = (Ability(PACKET_FILTER, False, "kernel", "ebtables"),)
    told = {"name": "one", "cores": 4, "memory": 1 << 34, "disk": 1 << 40, "virt_type": "kvm", "virt_note": ""}
    bench.do(DescribeCell(**told, hypervisor="QEMU 7.2", abilities=abilities))  # type: ignore[arg-type]
    bench.do(te.CreateTemplate(name="Web", policy=DROP))
    for changes in ({"policy": OPEN}, {"template": "Web"}):
        with pytest.raises(NoCapacity, match="filter packets") as refused:
            bench.do(create(**changes))
        assert refused.value.code == "ability_missing"
    assert security(bench) is None


def test_what_was_written_before_there_were_policies_reads_on() -> None:
    old = b'{"type":"template.created","id":"t","name":"Old","admin":"root","operating_system":"linux","hardware":{}}'
    assert msgspec.json.decode(old, type=te.TemplateCreated).policy is None
