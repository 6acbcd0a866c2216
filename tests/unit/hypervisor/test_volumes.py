"""Volumes with a qemu-img of our own, a shell script that notes how it was called and does as the test says."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from nano.domain.errors import DeadlineExceeded, DiskFull, HostError
from nano.domain.machine import GIBI, MEBI, MachineSpec
from nano.hypervisor.blocking_calls import BlockingCalls
from nano.hypervisor.qemu_img import QemuImg, QemuImgLimits
from nano.hypervisor.volumes import Volumes

pytestmark = pytest.mark.anyio

GUEST = "3f0c0000-0000-4000-8000-000000000001"
INFO = '{"virtual-size": 1048576, "format": "qcow2"}'


class Tool:
    """The script, and what it saw."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "qemu-img"
        self.log = folder / "calls"

    def says(self, info: str = INFO, convert: str = "", create: str = "printf blank > $5") -> None:
        copy = f"""printf '    (0.00/100%%)\\r'; printf '    (50.42/100%%)\\r'
{convert}
printf copied > "$8"; printf '    (100.00/100%%)\\r\\n'"""
        self.path.write_text(
            f"#!/bin/sh\necho \"$@\" >> {self.log}\ncase $1 in\ninfo) echo '{info}';;\nconvert) {copy};;\n"
            f"create) {create};;\nresize) ;;\nesac\n"
        )
        self.path.chmod(0o755)

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    made = Tool(tmp_path)
    made.says()
    return made


@pytest.fixture
def volumes(tmp_path: Path, tool: Tool) -> Iterator[Volumes]:
    calls = BlockingCalls("test")
    yield Volumes(tmp_path / "volumes", calls, QemuImg(QemuImgLimits(program=str(tool.path), copy_s=10)))
    calls.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.qcow2"
    path.write_bytes(b"image")
    return path


def machine(*disks: int) -> MachineSpec:
    return MachineSpec(name="demo", cores=1, memory=64 * MEBI, disks=disks or (GIBI,), mac="52:54:00:00:00:01")


def nobody_asks(_percent: int) -> None:
    """A progress that is not looked at."""


def left(volumes: Volumes) -> list[str]:
    return sorted(os.listdir(volumes.folder)) if volumes.folder.exists() else []


async def test_an_image_is_copied_with_its_format_stated_and_grown(volumes: Volumes, tool: Tool, image: Path) -> None:
    percents: list[int] = []
    await volumes.make(GUEST, machine(GIBI), image, percents.append)
    part = volumes.folder / f"{GUEST}_0.qcow2.part"
    assert tool.calls() == [
        f"info --output=json -f qcow2 {image}",
        f"convert -p -f qcow2 -O qcow2 {image} {part}",
        f"resize -q -f qcow2 {part} {GIBI}",
    ]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert left(volumes) == [f"{GUEST}_0.qcow2"]


async def test_blank_volumes_of_one_size_are_made_by_qemu_img_once(volumes: Volumes, tool: Tool) -> None:
    await volumes.make(GUEST, machine(GIBI, GIBI, MEBI), None, nobody_asks)
    assert len(tool.calls()) == 2
    first, second, third = (volumes.folder / name for name in left(volumes))
    assert first.read_bytes() == second.read_bytes() == third.read_bytes() == b"blank"


async def test_a_volume_that_exists_is_left_as_it_is(volumes: Volumes, tool: Tool, image: Path) -> None:
    await volumes.make(GUEST, machine(), None, nobody_asks)
    (volumes.folder / f"{GUEST}_0.qcow2").write_bytes(b"precious")
    await volumes.make(GUEST, machine(), image, nobody_asks)
    assert (volumes.folder / f"{GUEST}_0.qcow2").read_bytes() == b"precious"


async def test_a_failure_removes_what_this_call_made_and_nothing_else(volumes: Volumes, tool: Tool) -> None:
    await volumes.make(GUEST, machine(MEBI), None, nobody_asks)
    full = "echo 'write: No space left on device' >&2; exit 1"
    tool.says(create=f"printf half > $5; [ $6 = {2 * MEBI} ] && {{ {full}; }}; true")
    with pytest.raises(DiskFull):
        await volumes.make(GUEST, machine(MEBI, GIBI, 2 * MEBI), None, nobody_asks)
    assert left(volumes) == [f"{GUEST}_0.qcow2"]


async def test_a_full_disk_during_the_copy_is_told_as_such(volumes: Volumes, tool: Tool, image: Path) -> None:
    tool.says(convert='printf half > "$8"; echo "error while writing: No space left on device" >&2; exit 1')
    with pytest.raises(DiskFull):
        await volumes.make(GUEST, machine(), image, nobody_asks)
    assert left(volumes) == []


async def test_a_broken_image_is_told_with_the_tools_words(volumes: Volumes, tool: Tool, image: Path) -> None:
    tool.says(convert='echo "qcow2: Image is corrupt" >&2; exit 1')
    with pytest.raises(HostError) as failure:
        await volumes.make(GUEST, machine(), image, nobody_asks)
    assert failure.value.code == "image_tool_failed"
    assert "Image is corrupt" in failure.value.message
    assert left(volumes) == []


async def test_cancelling_kills_the_copy_and_removes_the_file(
    volumes: Volumes, tool: Tool, image: Path, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    tool.says(convert=f'printf half > "$8"; echo $$ > {pid_file}; exec sleep 600')
    begun = anyio.Event()

    def progress(percent: int) -> None:
        if percent == 50:
            begun.set()

    async with anyio.create_task_group() as group:
        group.start_soon(volumes.make, GUEST, machine(), image, progress)
        with anyio.fail_after(10):
            await begun.wait()
            while not (pid_file.exists() and pid_file.read_text().strip()):  # noqa: ASYNC110  a file tells no event
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), signal.SIG_DFL)
    assert left(volumes) == []


async def test_a_copy_that_takes_too_long_is_ended(tmp_path: Path, tool: Tool, image: Path) -> None:
    tool.says(convert="exec sleep 600")
    calls = BlockingCalls("test")
    slow = Volumes(tmp_path / "volumes", calls, QemuImg(QemuImgLimits(program=str(tool.path), copy_s=0.2)))
    with pytest.raises(DeadlineExceeded):
        await slow.make(GUEST, machine(), image, nobody_asks)
    assert left(slow) == []
    calls.close()


REFUSED = {
    "image_too_large": '{"virtual-size": 2147483648}',
    "image_not_independent": '{"virtual-size": 1, "backing-filename": "/etc/shadow"}',
    "image_unreadable": "not json",
}


@pytest.mark.parametrize("code", REFUSED)
async def test_an_image_that_would_not_do_is_refused_before_it_is_copied(
    code: str, volumes: Volumes, tool: Tool, image: Path
) -> None:
    tool.says(info=REFUSED[code])
    with pytest.raises(HostError) as refusal:
        await volumes.make(GUEST, machine(GIBI), image, nobody_asks)
    assert refusal.value.code == code
    assert len(tool.calls()) == 1


async def test_an_external_data_file_is_a_reference_too(volumes: Volumes, tool: Tool, image: Path) -> None:
    tool.says(info='{"virtual-size": 1, "format-specific": {"type": "qcow2", "data": {"data-file": "/etc/shadow"}}}')
    with pytest.raises(HostError) as refusal:
        await volumes.make(GUEST, machine(GIBI), image, nobody_asks)
    assert refusal.value.code == "image_not_independent"


async def test_an_image_is_a_file_name_never_a_protocol(volumes: Volumes) -> None:
    with pytest.raises(HostError):
        await volumes.make(GUEST, machine(), Path("nbd:localhost:10809"), nobody_asks)


async def test_the_tool_runs_with_bounded_memory(volumes: Volumes, tool: Tool, image: Path, tmp_path: Path) -> None:
    tool.says(convert=f"ulimit -v > {tmp_path / 'limit'}")
    await volumes.make(GUEST, machine(), image, nobody_asks)
    assert int((tmp_path / "limit").read_text()) == (4 << 30) // 1024


async def test_a_missing_tool_is_a_host_error(tmp_path: Path) -> None:
    calls = BlockingCalls("test")
    volumes = Volumes(tmp_path / "volumes", calls, QemuImg(QemuImgLimits(program=str(tmp_path / "absent"))))
    with pytest.raises(HostError):
        await volumes.make(GUEST, machine(), None, nobody_asks)
    calls.close()


async def test_unfinished_files_belong_to_their_guest_and_others_to_nobody(volumes: Volumes) -> None:
    await volumes.make(GUEST, machine(), None, nobody_asks)
    for name in (f"{GUEST}_1.qcow2.part", "notes.txt", f"{GUEST}_x.qcow2", f"{GUEST}0_0.qcow2"):
        (volumes.folder / name).write_text("x")
    assert await volumes.owners() == [GUEST]
    assert await volumes.remove(GUEST) == [f"{GUEST}_0.qcow2", f"{GUEST}_1.qcow2.part"]
    assert left(volumes) == sorted(["notes.txt", f"{GUEST}_x.qcow2", f"{GUEST}0_0.qcow2"])
