"""The guard: which interface may send as what, and that the kernel's table is always the whole of it."""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

import msgspec
import pytest

from nano.domain.errors import HostError
from nano.domain.machine import MachineSpec
from nano.hypervisor import filter_choice
from nano.hypervisor.blocking_calls import BlockingCalls
from nano.hypervisor.changes import Changes
from nano.hypervisor.domain_xml import Place, domain_xml
from nano.hypervisor.guard import Claim, NftGuard, claims_of, guard_text, guarded_tap, remove_guard
from nano.hypervisor.shape import Shape, differences, shape_of
from nano.hypervisor.simulated_changes import SimulatedChanges

MAC, OTHER = "52:54:00:12:34:56", "52:54:00:65:43:21"
SPEC = MachineSpec(name="web", cores=1, memory=1, disks=(1,), mac=MAC)
NFT = """#!/bin/sh
if [ "$1" = list ]; then test -e "{folder}/table"; exit; fi
if [ -e "{folder}/refuse" ]; then echo "no such thing" >&2; exit 1; fi
cat > "{folder}/table"
"""

pytestmark = pytest.mark.anyio


@pytest.fixture
async def guard(tmp_path: Path) -> AsyncIterator[NftGuard]:
    program = tmp_path / "nft"
    program.write_text(NFT.format(folder=tmp_path))
    program.chmod(0o755)
    calls = BlockingCalls("test")
    yield NftGuard(calls, "one", lambda mac: guarded_tap("one", mac), str(program))
    calls.close()


def test_names_of_interfaces_are_short_and_the_cells_own() -> None:
    assert len(guarded_tap("Cell_0a1b2c3d4e5f", MAC)) < 16
    assert len({guarded_tap(cell, mac) for cell in ("one", "two") for mac in (MAC, OTHER)}) == 4


def test_a_guest_claims_its_macs_and_the_address_it_was_made_with() -> None:
    tap = {MAC: "ng1", OTHER: "ng2"}.__getitem__
    replace = msgspec.structs.replace
    assert claims_of(SPEC, tap) == (Claim("ng1", MAC, ()),)
    addressed = replace(SPEC, own_addresses=("10.0.0.5",))
    assert claims_of(addressed, tap) == (Claim("ng1", MAC, ("10.0.0.5",)),)
    assert claims_of(replace(addressed, more_macs=(OTHER,)), tap) == (Claim("ng1", MAC, ()), Claim("ng2", OTHER, ()))
    assert claims_of(replace(addressed, unguarded=True), tap) == ()


def test_the_kernel_takes_the_table_and_tells_it_again() -> None:
    """In a network namespace of its own, that goes with the process."""
    claims = [Claim("ng1", MAC, ()), Claim("ng2", OTHER, ("10.0.0.5", "2001:db8::5"))]
    files = "\n".join(f"nft -f - <<'E'\n{guard_text('g', held)}E" for held in (claims[:1], claims))
    script = f"{files}\nnft -j list table bridge g\nnft -f - <<'E'\n{guard_text('g', [])}E\nnft list tables >&2\n"
    unshare = [str(shutil.which("unshare")), "--net", "sh", "-ec", script]
    done = subprocess.run(unshare, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)["nftables"]
    sets = {row["set"]["name"]: row["set"].get("elem", []) for row in rows if "set" in row}
    assert len(sets["taps"]) == len(sets["macs"]) == 2
    assert sets["bound4"] == sets["bound6"] == ["ng2"]
    assert len(sets["addresses4"]) == 2, "its own, and none while it asks for one"
    assert len(sets["addresses6"]) == 1
    assert done.stderr == "", "nothing is left when nobody is guarded"


async def test_the_table_is_the_whole_of_what_is_held(guard: NftGuard, tmp_path: Path) -> None:
    table = tmp_path / "table"
    other = msgspec.structs.replace(SPEC, mac=OTHER)
    await guard.put({"a": SPEC, "b": other})
    assert MAC in table.read_text()
    table.write_text("as it was")
    await guard.put({"a": SPEC})
    assert table.read_text() == "as it was", "nothing is different"
    await guard.put({"a": msgspec.structs.replace(SPEC, unguarded=True)})
    assert (MAC in table.read_text(), OTHER in table.read_text()) == (False, True)
    await guard.drop("b")
    assert OTHER not in table.read_text()
    await guard.put({"b": other})
    await guard.put({"a": SPEC}, only=True)
    assert (MAC in table.read_text(), OTHER in table.read_text()) == (True, False)


async def test_a_table_that_somebody_removed_is_put_back(guard: NftGuard, tmp_path: Path) -> None:
    await guard.look()
    assert not (tmp_path / "table").exists(), "nobody is guarded"
    await guard.put({"a": SPEC})
    (tmp_path / "table").unlink()
    await guard.look()
    assert MAC in (tmp_path / "table").read_text()


async def test_what_was_refused_is_part_of_the_next_table(guard: NftGuard, tmp_path: Path) -> None:
    (tmp_path / "refuse").touch()
    with pytest.raises(HostError, match="no such thing") as refused:
        await guard.put({"a": SPEC})
    assert refused.value.code == "filter_refused"
    (tmp_path / "refuse").unlink()
    await guard.put({"b": msgspec.structs.replace(SPEC, mac=OTHER)})
    assert MAC in (tmp_path / "table").read_text()


class Parts(SimulatedChanges):
    """Of a guest that was defined before its host had a guard."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.place = Place("qemu", PurePosixPath("/v"), "br0", "one")

    def wanted(self, guest_id: str, spec: MachineSpec) -> Shape:
        return shape_of(domain_xml(guest_id, spec, msgspec.structs.replace(self.place, guarded=True)))

    async def defined(self, guest_id: str) -> Shape:
        return shape_of(domain_xml(guest_id, SPEC, self.place))

    async def guard(self, guest_id: str, spec: MachineSpec) -> None:
        self.done.append("guard")

    async def define(self, guest_id: str, spec: MachineSpec) -> None:
        self.done.append("define")
        self.place = msgspec.structs.replace(self.place, guarded=True)


async def test_a_guest_from_before_is_defined_again_at_its_next_start_and_has_not_drifted() -> None:
    parts, guest_id = Parts(), "3f0c0000-0000-4000-8000-000000000001"
    now, wanted = await parts.defined(guest_id), parts.wanted(guest_id, SPEC)
    assert (now.nics[0].guarded, wanted.nics[0].guarded) == ("", guarded_tap("one", MAC))
    assert differences(now, wanted) == ()
    changes = Changes(parts, lambda _: "")
    for _ in range(2):
        await changes.prepare(guest_id, SPEC)
    assert parts.done == ["guard", "define", "guard"]


def test_the_table_of_a_cell_that_is_no_more_is_removed(tmp_path: Path) -> None:
    program = tmp_path / "nft"
    program.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/said"\n')
    program.chmod(0o755)
    assert remove_guard("one", str(program))
    assert (tmp_path / "said").read_text() == "delete table bridge nano-guard-one\n"
    program.write_text("#!/bin/sh\nexit 1\n")
    assert not remove_guard("one", str(program))
    assert not remove_guard("one", str(tmp_path / "none"))


def test_a_host_without_nftables_or_that_may_not_use_it_can_not(monkeypatch: pytest.MonkeyPatch) -> None:
    told = filter_choice.anti_spoofing("nwfilter")
    assert (told.can, told.why_not) == (False, "packets are filtered by nwfilter alone")
    assert filter_choice.anti_spoofing().can
    monkeypatch.setenv("PATH", "/nowhere")
    assert not filter_choice.anti_spoofing().can
