"""Files of the intake folder over a whole Core: what is an image becomes one, the rest says why, nothing gets lost between."""

import subprocess
from pathlib import Path

import anyio
import pytest

from nano.core.core import Core
from nano.core.image_tools import QemuTools
from nano.domain.errors import Conflict
from nano.domain.image import Image
from nano.domain.image_commands import DeleteImage
from nano.domain.image_sync import SyncImages, image_name
from nano.domain.task import CancelTask, Task
from nano.tools.simulator.bed import Bed, ended, task_of
from nano.transports.part_file import PartFile
from tests.sim.test_media import DISC

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    (tmp_path / "intake").mkdir()
    return Bed(tmp_path)


def qcow2(path: Path, *words: str) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *words, str(path), "1M"], check=True)
    return path


async def begun(core: Core) -> str:
    return task_of((await core.execute(SyncImages(), actor="admin", command_id="")).facts)


async def sync(core: Core) -> Task:
    return await ended(core, await begun(core))


def outcomes(task: Task) -> dict[str, str]:
    return {item.name: item.error.code if item.error else item.state for item in task.items}


def images(core: Core) -> dict[str, str]:
    """Name to format, of those that are ready; no other is known."""
    every = [image for kind in ("image", "media") for image in core.zone.of_kind(kind) if isinstance(image, Image)]
    assert all(image.ready and image.kept and image.owner == "admin" for image in every)
    return {image.name: image.format for image in every}


async def test_files_become_images_and_leave_the_folder(bed: Bed) -> None:
    intake = bed.folder / "intake"
    qcow2(intake / "debian 12.qcow2")
    (intake / "old.img").write_bytes(b"x" * 4096)
    (intake / "netinst.iso").write_bytes(DISC)
    async with bed.core() as core:
        task = await sync(core)
        assert (task.state, outcomes(task)) == (
            "done",
            {"debian 12.qcow2": "done", "netinst.iso": "done", "old.img": "done"},
        )
        assert images(core) == {"debian_12": "qcow2", "old": "qcow2", "netinst": "iso"}
        assert list(intake.iterdir()) == []
        again = await sync(core)
        assert (again.state, again.items) == ("done", ())
    kept = {path.suffix for path in (bed.folder / "core" / "images").iterdir() if not path.name.endswith(".lock")}
    assert kept == {".qcow2", ".iso"}


async def test_hostile_files_are_refused_one_by_one_and_stay(bed: Bed) -> None:
    intake, outside = bed.folder / "intake", bed.folder / "outside.qcow2"
    qcow2(outside)
    qcow2(intake / "leaning.qcow2", "-b", str(outside), "-F", "qcow2")
    (intake / "link.qcow2").symlink_to(outside)
    (intake / "vmdk.raw").write_bytes(b"# Disk DescriptorFile\n".ljust(1024, b"\n"))
    (intake / "no.iso").write_bytes(b"x" * 70_000)
    (intake / "cut.qcow2").write_bytes(outside.read_bytes()[:40])
    (intake / "empty.raw").touch()
    (intake / "-.raw").write_bytes(b"x" * 512)
    (intake / "read.me").touch()
    good = qcow2(intake / "good.qcow2")
    before = sorted(path.name for path in intake.iterdir())
    async with bed.core() as core:
        task = await sync(core)
        assert outcomes(task) == {
            "-.raw": "invalid_name",
            "cut.qcow2": "image_not_qcow2",
            "empty.raw": "invalid_size",
            "good.qcow2": "done",
            "leaning.qcow2": "image_not_self_contained",
            "link.qcow2": "image_not_a_file",
            "no.iso": "media_not_iso",
            "read.me": "file_unknown",
            "vmdk.raw": "image_not_raw",
        }
        assert task.error is not None
        assert (task.state, task.error.code) == ("failed", "sync_incomplete")
        assert task.error.message.startswith("8 of 9 files are no images. -.raw: ")
        assert images(core) == {"good": "qcow2"}
        assert sorted(path.name for path in intake.iterdir()) == [name for name in before if name != good.name]
        qcow2(good)
        assert outcomes(await sync(core))["good.qcow2"] == "duplicate_name"
        assert good.exists()


async def test_images_whose_files_are_gone_are_named(bed: Bed) -> None:
    qcow2(bed.folder / "intake" / "web.qcow2")
    async with bed.core() as core:
        await sync(core)
        (image,) = core.zone.of_kind("image")
        assert isinstance(image, Image)
        core.images.path(image).unlink()
        task = await sync(core)
        assert outcomes(task) == {"web": "image_file_missing"}
        await core.execute(DeleteImage(image="web"), actor="admin", command_id="")
        assert (await sync(core)).error is None


async def test_a_folder_that_is_not_there_is_told(bed: Bed) -> None:
    (bed.folder / "intake").rmdir()
    async with bed.core() as core:
        task = await sync(core)
        assert task.error is not None
        assert (task.state, task.error.code, task.items) == ("failed", "intake_unreadable", ())


async def test_one_sync_at_a_time(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    qcow2(bed.folder / "intake" / "web.qcow2")
    checked = Held()
    monkeypatch.setattr(QemuTools, "inspect", checked)
    async with bed.core() as core:
        task_id = await begun(core)
        await checked.reached.wait()
        with pytest.raises(Conflict, match="already"):
            await begun(core)
        await core.execute(CancelTask(task=task_id), actor="admin", command_id="")
        task = await ended(core, task_id)
        assert (task.state, outcomes(task)) == ("cancelled", {"web.qcow2": "task_cancelled"})
        assert images(core) == {}
    assert (bed.folder / "intake" / "web.qcow2").exists()
    monkeypatch.undo()
    async with bed.core() as core:
        assert (await sync(core)).error is None


class Held:
    """Hangs whoever comes."""

    def __init__(self) -> None:
        self.reached = anyio.Event()

    async def __call__(self, *_: object) -> None:
        self.reached.set()
        await anyio.sleep_forever()


@pytest.mark.parametrize("phase", ["look", "look_for", "_copy_some", "complete", "inspect", "remove"])
async def test_core_stopped_in_each_phase_goes_on(bed: Bed, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    """The work of that phase never answers; when Core is there again, every file has become its image once."""
    intake = bed.folder / "intake"
    qcow2(intake / "web.qcow2")
    (intake / "db.raw").write_bytes(b"x" * 512)
    reached = Held()
    with monkeypatch.context() as patched:
        async with bed.core() as core:
            if phase == "inspect":
                patched.setattr(QemuTools, "inspect", reached)
            else:
                run = core.files.workers.run

                async def hung(work: object, *arguments: object) -> object:
                    if getattr(work, "__name__", "") == phase:
                        reached.reached.set()
                        await anyio.sleep_forever()
                    return await run(work, *arguments)  # type: ignore[arg-type]

                patched.setattr(core._image_work._sync, "_run", hung)
                patched.setattr(core._image_work._sync, "_whole", hung)
            task_id = await begun(core)
            with anyio.fail_after(10):
                await reached.reached.wait()
    async with bed.core() as core:
        task = await ended(core, task_id)
        assert (task.state, outcomes(task)) == ("done", {"db.raw": "done", "web.qcow2": "done"})
        assert images(core) == {"web": "qcow2", "db": "qcow2"}
        assert list(intake.iterdir()) == []


async def test_a_full_disk_leaves_the_file_and_nothing_else(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    intake = bed.folder / "intake"
    (intake / "big.raw").write_bytes(b"x" * 4096)

    def full(part: PartFile, chunk: bytes) -> None:
        raise part._full(0)

    async with bed.core() as core:
        with monkeypatch.context() as patched:
            patched.setattr(PartFile, "write", full)
            assert outcomes(await sync(core)) == {"big.raw": "disk_full"}
        assert images(core) == {}
        assert [path for path in (bed.folder / "core" / "images").iterdir() if "raw" in path.name] == []
        assert outcomes(await sync(core)) == {"big.raw": "done"}


@pytest.mark.parametrize(
    ("file", "name"),
    [("a.iso", "a"), ("a.b.img", "a.b"), ("系统.raw", "__"), ("x" * 90 + ".iso", "x" * 64), ("<b>&;.iso", "_b___")],
)
def test_names_of_images(file: str, name: str) -> None:
    assert image_name(file) == name
