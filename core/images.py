"""Inspecting an image file before anything trusts it, and the saga that registers it.

``qemu-img info`` runs with the format stated, and with limits. A file that is not plain qcow2, or leans on another
file (backing file, external data file), is refused: a guest could read the host's files through it.
"""

import hashlib
import os
import stat
import subprocess
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

INSPECT_TIMEOUT_S: Final = 20
INSPECT_MEMORY: Final = 1 << 30
_CHUNK: Final = 1 << 20


class _Info(msgspec.Struct, rename="kebab"):
    """The part of ``qemu-img info --output=json`` that matters (QEMU's ImageInfo)."""

    format: str
    virtual_size: int
    backing_filename: str = ""
    format_specific: dict[str, object] = {}


class Inspection(msgspec.Struct, frozen=True):
    format: Literal["qcow2"]
    size: int
    virtual_size: int
    sha256: str


def inspect(path: Path, progress: Callable[[int], None], stop: Callable[[], bool]) -> Inspection:
    """Look at the file and take its digest; blocking. Raises Invalid, HostError; Cancelled when ``stop()`` turns true."""
    try:
        found = path.lstat()
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
    info = _info(path)
    data = info.format_specific.get("data")
    if info.backing_filename or (isinstance(data, dict) and data.get("data-file")):
        raise Invalid(
            f"{path} leans on another file.",
            code="image_not_self_contained",
            hint="Convert it to one whole qcow2 file first.",
        )
    if not 0 < info.virtual_size <= DISK_MAX:
        raise Invalid(f"{path} says its disk has {info.virtual_size} bytes.", code="image_size_absurd")
    return Inspection("qcow2", found.st_size, info.virtual_size, _digest(path, found.st_size, progress, stop))


def _info(path: Path) -> _Info:
    limits = ["prlimit", f"--as={INSPECT_MEMORY}", f"--cpu={INSPECT_TIMEOUT_S}", "--fsize=0"]
    command = [*limits, "qemu-img", "info", "--output=json", "-f", "qcow2", f"file:{path}"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=INSPECT_TIMEOUT_S,
            check=False,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise Invalid(f"{path} could not be inspected in {INSPECT_TIMEOUT_S} s.", code="image_unreadable") from error
    except OSError as error:
        raise HostError(
            f"qemu-img can't be run: {error.strerror}.", code="qemu_img_missing", hint="Install qemu-utils."
        ) from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().split("\n")[-1][:300]
        raise Invalid(
            f"{path} is not a whole qcow2 image: {said}", code="image_not_qcow2", hint="Convert it to qcow2 first."
        )
    try:
        return msgspec.json.decode(done.stdout, type=_Info)
    except msgspec.MsgspecError as error:
        raise HostError(
            "qemu-img answered something that is not an image description.", code="qemu_img_failed"
        ) from error


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
        found: list[Inspection] = []

        async def look() -> None:
            def tell(percent: int) -> None:
                anyio.from_thread.run_sync(self._tell, run.task.id, percent, "inspect")

            def stopped() -> bool:
                return run.cancelled

            found.append(await anyio.to_thread.run_sync(inspect, Path(image.path), tell, stopped))

        try:
            await run.within_deadline(look)
            await run.record(FinishRegister(task=run.task.id, **msgspec.structs.asdict(found[0])), "end")
        except JournalError:
            raise
        except NanoError as error:
            failed = FailRegister(task=run.task.id, error=problem_of(error), cancelled=isinstance(error, Cancelled))
            await run.record(failed, "abandon")
