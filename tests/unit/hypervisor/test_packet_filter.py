"""Packet filters as texts, against golden files (NANO_GOLDEN=write makes them anew), and which of them a host has."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nano.domain.ability import PACKET_FILTER, Ability
from nano.domain.errors import HostError
from nano.domain.machine import MachineSpec
from nano.domain.security import SecurityPolicy, SecurityRule
from nano.hypervisor import filter_choice
from nano.hypervisor.blocking_calls import BlockingCalls
from nano.hypervisor.connection import LibvirtConnection
from nano.hypervisor.filter_xml import filter_text, filter_xml, told
from nano.hypervisor.nftables import NftFilters, table_text
from nano.hypervisor.packet_filter import Unable, filter_name, guest_of, tap_name

GOLDEN = Path(__file__).parents[2] / "golden" / "packet_filter"
GUEST = "3f0c0000-0000-4000-8000-000000000001"
RULES = (
    SecurityRule(action="accept", protocol="tcp", port=22, source="10.0.0.0/8"),
    SecurityRule(action="accept", protocol="udp", port=5000, last_port=5010),
    SecurityRule(action="drop", protocol="icmp"),
    SecurityRule(action="accept", source="2001:db8::/32"),
    SecurityRule(action="drop", source="192.168.7.9"),
)
POLICIES = {
    "open": SecurityPolicy(),
    "own-addresses": SecurityPolicy(addresses=("10.0.0.5", "2001:db8::5")),
    "closed": SecurityPolicy(default="drop"),
    "rules": SecurityPolicy(rules=RULES),
    "rules-closed": SecurityPolicy(default="drop", rules=RULES, addresses=("10.0.0.5",)),
}


def spec(policy: SecurityPolicy | None) -> MachineSpec:
    return MachineSpec(
        name="web",
        cores=1,
        memory=1,
        disks=(1,),
        mac="52:54:00:12:34:56",
        more_macs=("52:54:00:12:34:57",),
        security=policy,
    )


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("kind", ["xml", "nft"])
def test_the_filter_of_each_policy(name: str, kind: str) -> None:
    text = filter_xml(GUEST, POLICIES[name]) if kind == "xml" else table_text(GUEST, spec(POLICIES[name]))
    path = GOLDEN / f"{name}.{kind}"
    if os.environ.get("NANO_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", POLICIES)
def test_nft_takes_every_table(name: str) -> None:
    program = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program is not None
    command = ["unshare", "--net", program, "-f", "-"]
    done = subprocess.run(
        command, input=table_text(GUEST, spec(POLICIES[name])), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_libvirt_spells_otherwise_is_the_same_and_a_changed_rule_is_not() -> None:
    ours = filter_xml(GUEST, POLICIES["rules-closed"])
    theirs = ours.replace('srcipaddr="10.0.0.0" srcipmask="8"', 'srcipmask="8" srcipaddr="10.0.0.0"').replace('"', "'")
    assert theirs != ours
    assert told(theirs) == told(ours) == filter_text(GUEST, spec(POLICIES["rules-closed"]))
    assert told(ours.replace('"22"', '"23"')) != told(ours)
    assert filter_text(GUEST, spec(None)) == ""
    assert len({filter_text(GUEST, spec(policy)) for policy in POLICIES.values()}) == len(POLICIES)


def test_names_lead_back_to_guests_and_fit_an_interface() -> None:
    assert guest_of(filter_name(GUEST)) == GUEST
    assert guest_of("clean-traffic") is None
    assert guest_of(f"nano-{GUEST}\n") is None
    assert len(tap_name("52:54:00:12:34:56")) < 16


@pytest.mark.anyio
async def test_a_host_that_filters_nothing_refuses_a_policy() -> None:
    with pytest.raises(HostError) as refusal:
        await Unable("no ebtables").put(GUEST, spec(SecurityPolicy()))
    assert (refusal.value.code, "no ebtables" in refusal.value.message) == ("ability_missing", True)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "the kernel lacks br_netfilter"),
        ({"bridge-nf-call-iptables": "0"}, "net.bridge.bridge-nf-call-iptables is 0"),
        (
            {"bridge-nf-call-iptables": "1", "bridge-nf-call-ip6tables": "0"},
            "net.bridge.bridge-nf-call-ip6tables is 0",
        ),
    ],
)
def test_rules_for_ip_need_packets_that_are_handed_over(tmp_path: Path, files: dict[str, str], why: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}\n")
    assert filter_choice.why_no_nwfilter(tmp_path) == why


def test_what_a_host_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in filter_choice.HANDED_OVER:
        (tmp_path / name).write_text("1\n")
    tools = tmp_path / "bin"
    tools.mkdir()
    for program in ("unshare", "iptables"):
        (tools / program).write_text('#!/bin/sh\nshift\nexec "$@"\n' if program == "unshare" else "#!/bin/sh\nexit 0\n")
        (tools / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/nowhere")
    assert filter_choice.why_no_nwfilter(tmp_path) == "the kernel or the host lacks ebtables, ip6tables"
    assert filter_choice.why_no_nftables() != ""


def test_what_comes_first_is_preferred_and_settings_may_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filter_choice, "why_no_nwfilter", lambda: "")
    monkeypatch.setattr(filter_choice, "why_no_nftables", lambda: "")
    assert filter_choice.packet_filter().detail == "nwfilter, nftables"
    assert filter_choice.packet_filter("nftables").detail == "nftables"
    monkeypatch.setattr(filter_choice, "why_no_nwfilter", lambda: "it lacks ebtables")
    assert filter_choice.packet_filter().detail == "nftables"
    found = filter_choice.packet_filter("nwfilter")
    assert (found.can, found.why_not) == (False, "nwfilter: it lacks ebtables")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("probed", "kind", "why"),
    [
        (Ability(PACKET_FILTER, True, detail="nwfilter, nftables"), NftFilters, ""),
        (Ability(PACKET_FILTER, True, detail="nwfilter"), Unable, "nwfilter: "),
        (Ability(PACKET_FILTER, False, "told", "no kernel"), Unable, "no kernel"),
    ],
)
async def test_a_libvirt_without_filters_leaves_nftables(tmp_path: Path, probed: Ability, kind: type, why: str) -> None:
    """libvirt's test driver has none."""
    calls = BlockingCalls("test")
    connection = LibvirtConnection("test:///default", calls)
    try:
        (found,), filters = await filter_choice.filters_of(connection, calls, tmp_path, (probed,))
    finally:
        await connection.close()
        calls.close()
    assert isinstance(filters, kind)
    assert found.can is not bool(why)
    assert found.why_not.startswith(why)
