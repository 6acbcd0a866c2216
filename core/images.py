"""Inspecting an image file before anything trusts it, and the saga that registers it.

``qemu-img info`` runs with the format stated, and with limits. A file that is not plain qcow2, or leans on another
file (backing file, external data file), is refused: a guest could read the host's files through it.
"""

import hashlib
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec

from nano.core.work import Cancelled, Run, Saga, problem_of
from nano.domain.errors import HostError, Invalid, JournalError, NanoError
from nano.domain.image import FailRegister, FinishRegister, Image
from nano.domain.machine import DISK_MAX
from nano.domain.zone import Zone
from nano.hypervisor.qemu_img import QemuImg, QemuImgLimits

LIMITS: Final = QemuImgLimits(memory=1 << 30, cpu_s=20, quick_s=20.0)
_CHUNK: Final = 1 << 20


class Inspection(msgspec.Struct, frozen=True):
    format: Literal["qcow2"]
    size: int
    virtual_size: int


async def inspect(path: Path) -> Inspection:
    """Look at the file without trusting it; its digest is taken later. Raises Invalid, HostError."""
    try:
        found = await anyio.Path(path).lstat()
    except OSError as error:
        raise Invalid(
            f"{path}: {error.strerror}.", code="image_unreadable", hint="Give the path of a file on Core's machine."
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise Invalid(
            f"{path} is not a plain file.",
            code="image_not_a_file",
            hint="Give the file itself, not a link or a device.",
        )
    try:
        info = await QemuImg(LIMITS).info(path)
    except HostError as error:
        if error.code == "image_tool_missing":
            raise
        raise Invalid(
            f"{path} is not a whole qcow2 image: {error.message}",
            code="image_not_qcow2",
            hint="Convert it to qcow2 first.",
        ) from error
    if info.refers_elsewhere or await _header_names_a_backing_file(path):
        raise Invalid(
            f"{path} leans on another file.",
            code="image_not_self_contained",
            hint="Convert it to one whole qcow2 file first.",
        )
    if not 0 < info.virtual_size <= DISK_MAX:
        raise Invalid(f"{path} says its disk has {info.virtual_size} bytes.", code="image_size_absurd")
    return Inspection("qcow2", found.st_size, info.virtual_size)


async def _header_names_a_backing_file(path: Path) -> bool:
    """Of a cut file qemu-img reads the missing name as zeros and says nothing; its header still points there.
    Bytes 8 to 16 of a qcow2 header: backing_file_offset, 0 = none (QEMU docs/interop/qcow2)."""
    async with await anyio.open_file(path, "rb") as file:
        return any((await file.read(16))[8:16])


def _digest(path: Path, size: int, progress: Callable[[int], None], stop: Callable[[], bool]) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if stop():
                raise Cancelled("The task was cancelled.")
            digest.update(chunk)
            done += len(chunk)
            progress(min(99, done * 100 // max(1, size)))
    return digest.hexdigest()


class ImageWork:
    def __init__(self, zone: Zone, tell: Callable[[str, int, str], None]) -> None:
        self._zone = zone
        self._tell = tell

    def sagas(self) -> dict[str, Saga]:
        return {"image.register": self.register}

    async def register(self, run: Run) -> None:
        image = self._zone.get(run.task.resource)
        assert isinstance(image, Image)
        found: list[FinishRegister] = []
        path = Path(image.path)

        async def look() -> None:
            def tell(percent: int) -> None:
                anyio.from_thread.run_sync(self._tell, run.task.id, percent, "inspect")

            def stopped() -> bool:
                return run.cancelled

            seen = await inspect(path)
            sha256 = await anyio.to_thread.run_sync(_digest, path, seen.size, tell, stopped)
            found.append(FinishRegister(task=run.task.id, sha256=sha256, **msgspec.structs.asdict(seen)))

        try:
            await run.within_deadline(look)
            await run.record(found[0], "end")
        except JournalError:
            raise
        except NanoError as error:
            failed = FailRegister(task=run.task.id, error=problem_of(error), cancelled=isinstance(error, Cancelled))
            await run.record(failed, "abandon")
