"""What every ``Storage`` does alike: a folder that two hosts see under different names, and a simulated one that two share."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import msgspec
import pytest

from nano.domain.errors import HostError
from nano.domain.machine import MEBI, MachineSpec
from nano.hypervisor.blocking_calls import BlockingCalls
from nano.hypervisor.qemu_img import QemuImg
from nano.hypervisor.simulated import SimulatedHost
from nano.hypervisor.storage import MARK, FolderStorage, Storage, storage_id
from nano.hypervisor.volumes import Volumes, backing_files

pytestmark = pytest.mark.anyio

GUEST = "3f0c0000-0000-4000-8000-000000000001"
SPEC = MachineSpec(name="demo", cores=1, memory=64 * MEBI, disks=(4 * MEBI, 8 * MEBI), mac="52:54:00:00:00:01")


def nobody_asks(_percent: int) -> None:
    """A progress that is not looked at."""


@pytest.fixture
def calls() -> Iterator[BlockingCalls]:
    made = BlockingCalls("test")
    yield made
    made.close()


class Pair:
    """Two hosts with one storage, and a third with its own."""

    def __init__(self, one: Storage, two: Storage, third: Storage, volumes: Volumes | SimulatedHost) -> None:
        self.one, self.two, self.third = one, two, third
        self._volumes = volumes

    async def make(self, spec: MachineSpec) -> None:
        if isinstance(self._volumes, Volumes):
            await self._volumes.make(GUEST, spec, None, nobody_asks)
        else:
            await self._volumes.make_volumes(GUEST, spec, None, nobody_asks)


@pytest.fixture(params=["folder", "simulated"])
def pair(request: pytest.FixtureRequest, tmp_path: Path, calls: BlockingCalls) -> Pair:
    if request.param == "simulated":
        one, two = SimulatedHost(cell="one"), SimulatedHost(cell="two")
        two.share(one)
        return Pair(one.storage, two.storage, SimulatedHost().storage, one)
    for name in ("export", "third"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere").symlink_to("export")
    one_, two_, third = (FolderStorage(tmp_path / name, calls) for name in ("export", "elsewhere", "third"))
    return Pair(one_, two_, third, Volumes(tmp_path / "export", calls))


async def test_a_word_is_found_by_who_sees_the_storage_and_by_nobody_else(pair: Pair) -> None:
    assert await pair.two.announced(GUEST) == ""
    await pair.one.announce(GUEST, "first")
    await pair.one.announce(GUEST, "task.receive")
    assert await pair.two.announced(GUEST) == "task.receive"
    assert await pair.third.announced(GUEST) == ""
    for _ in range(2):
        await pair.two.withdraw(GUEST)
    assert await pair.one.announced(GUEST) == ""


async def test_what_a_guest_lacks_is_named(pair: Pair) -> None:
    assert await pair.two.lacking(GUEST, SPEC) == [f"{GUEST}_0.qcow2", f"{GUEST}_1.qcow2"]
    await pair.make(SPEC)
    assert await pair.two.lacking(GUEST, SPEC) == []
    assert await pair.third.lacking(GUEST, SPEC) == [f"{GUEST}_0.qcow2", f"{GUEST}_1.qcow2"]
    wanted = msgspec.structs.replace(SPEC, seed=True, media=GUEST)
    assert await pair.one.lacking(GUEST, wanted) == [f"{GUEST}_{GUEST}.iso", f"{GUEST}_seed.iso"]


@pytest.mark.parametrize("guest_id", ["../etc", "", "x" * 10_000, f"{GUEST}\n", GUEST.upper()])
async def test_a_name_that_is_no_guests_is_refused(pair: Pair, guest_id: str) -> None:
    for act in (pair.one.announce(guest_id, "word"), pair.one.withdraw(guest_id), pair.one.lacking(guest_id, SPEC)):
        with pytest.raises(HostError) as refused:
            await act
        assert refused.value.code == "invalid_guest_id"


@pytest.mark.parametrize("below", [True, False])
async def test_a_linked_disk_finds_its_image_below_the_folder_alone(
    tmp_path: Path, calls: BlockingCalls, below: bool
) -> None:
    folder, other = tmp_path / "export", tmp_path / "elsewhere"
    folder.mkdir()
    other.symlink_to("export")
    image = (folder / "images" / "one" if below else tmp_path) / "tiny.qcow2"
    image.parent.mkdir(parents=True, exist_ok=True)
    await QemuImg().create(image, 2 * MEBI)
    linked = msgspec.structs.replace(SPEC, linked=True, image="tiny")
    await Volumes(folder, calls).make(GUEST, linked, image, nobody_asks)
    assert backing_files(folder) == {str(image)}
    assert await FolderStorage(other, calls).lacking(GUEST, linked) == ([] if below else [str(image)])
    if below:
        chain = ["qemu-img", "info", "--backing-chain", str(other / f"{GUEST}_0.qcow2")]
        opened = await anyio.run_process(chain, check=False)
        assert opened.returncode == 0, opened.stderr
        image.unlink()
        assert await FolderStorage(other, calls).lacking(GUEST, linked) == ["images/one/tiny.qcow2"]


def test_a_folder_has_one_id_for_ever_and_no_two_folders_have_the_same(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    drawn = storage_id(one)
    assert storage_id(one) == drawn
    assert storage_id(other) != drawn
    assert [path.name for path in one.iterdir()] == [MARK]


@pytest.mark.parametrize("content", [b"", b"../x", b"0" * 31, b"\0" * 32, b"<b>", b"0" * 10_000, b"\xff" * 32])
def test_a_mark_that_is_none_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MARK).write_bytes(content)
    with pytest.raises(HostError) as refused:
        storage_id(tmp_path)
    assert refused.value.code == "volume_failed"
    assert MARK in refused.value.message
