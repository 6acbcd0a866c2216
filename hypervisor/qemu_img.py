"""``qemu-img`` as a bounded child process: memory and CPU limits, progress, and death on cancellation.

Why a limit: an image is foreign data, and qemu-img's format code has had bugs that a crafted file could use to eat all
memory or time (OpenStack limits it the same way). The format is always stated (``-f qcow2``), never guessed: a raw image
whose guest wrote a qcow2 header into it could otherwise name any file of the host as its backing file.
"""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import anyio
import anyio.abc
import msgspec

from nano.domain.errors import DeadlineExceeded, DiskFull, HostError
from nano.hypervisor.host import Progress

SourceFormat = Literal["qcow2", "raw"]
SAID_MAX: Final = 64 * 1024
_PERCENT: Final = re.compile(rb"\((\d+(?:\.\d+)?)/100%\)")


class QemuImgLimits(msgspec.Struct, frozen=True):
    """``memory`` is address space in bytes; seconds are CPU time for the process and wall time for its caller."""

    program: str = "qemu-img"
    memory: int = 4 << 30
    cpu_s: int = 3600
    quick_s: float = 30.0
    copy_s: float = 4 * 3600.0


class ImageInfo(msgspec.Struct, frozen=True, rename="kebab"):
    """The part of ``qemu-img info --output=json`` that is looked at. Sizes in bytes."""

    virtual_size: int
    backing_filename: str = ""
    format_specific: dict[str, object] = {}

    @property
    def refers_elsewhere(self) -> bool:
        data = self.format_specific.get("data")
        return bool(self.backing_filename) or (isinstance(data, dict) and bool(data.get("data-file")))


class QemuImg:
    def __init__(self, limits: QemuImgLimits | None = None) -> None:
        self.limits = limits or QemuImgLimits()

    async def create(self, path: Path, size: int) -> None:
        """A blank thin qcow2 of ``size`` bytes."""
        await self._run(["create", "-q", "-f", "qcow2", str(path), str(size)], self.limits.quick_s)

    async def info(self, path: Path) -> ImageInfo:
        said = await self._run(["info", "--output=json", "-f", "qcow2", str(path)], self.limits.quick_s)
        try:
            return msgspec.json.decode(said, type=ImageInfo)
        except msgspec.MsgspecError as error:
            raise HostError(
                f"qemu-img said nothing sensible about {path.name}: {error}", code="image_unreadable"
            ) from None

    async def check(self, path: Path) -> None:
        """Raises HostError(image_tool_failed) unless all that the qcow2 file says is where it says (space that is leaked does
        no harm: exit status 3)."""
        await self._run(["check", "-q", "-f", "qcow2", str(path)], self.limits.copy_s, good=(0, 3))

    async def copy(
        self, source: Path, target: Path, progress: Progress, *, format: SourceFormat = "qcow2", backing: str = ""
    ) -> None:
        """A full qcow2 copy, independent unless it is to lean on ``backing``. ``progress`` gets whole percents, each once,
        rising."""
        leaning = ["-B", backing, "-F", "qcow2"] if backing else []
        command = ["convert", "-p", "-f", format, "-O", "qcow2", *leaning, str(source), str(target)]
        await self._run(command, self.limits.copy_s, progress)

    async def link(self, image: Path, target: Path, size: int) -> None:
        """A qcow2 that holds only what will differ from the image, which must stay where it is. An image below its folder is
        named from there, so that whoever sees the folder finds it, wherever that is mounted."""
        name = image.relative_to(target.parent) if image.is_relative_to(target.parent) else image
        command = ["create", "-q", "-f", "qcow2", "-b", str(name), "-F", "qcow2", str(target), str(size)]
        await self._run(command, self.limits.quick_s)

    async def resize(self, path: Path, size: int, *, shrink: bool = False) -> None:
        """Grow to ``size`` bytes, or with ``shrink`` cut what is behind them."""
        await self._run(
            ["resize", "-q", *(["--shrink"] if shrink else []), "-f", "qcow2", str(path), str(size)],
            self.limits.quick_s,
        )

    async def _run(
        self,
        arguments: Sequence[str],
        limit_s: float,
        progress: Progress | None = None,
        good: tuple[int, ...] = (0,),
    ) -> bytes:
        """Its standard output. Raises DiskFull, HostError(code="image_tool_failed"), DeadlineExceeded."""
        limits = self.limits
        command = [
            "prlimit",
            f"--as={limits.memory}",
            f"--cpu={limits.cpu_s}",
            "--core=0",
            "--",
            limits.program,
            *arguments,
        ]
        try:
            process = await anyio.open_process(command, stdin=subprocess.DEVNULL, cwd="/")
        except OSError as error:
            raise HostError(f"{limits.program} can't be run: {error}", code="image_tool_missing") from None
        said, complaint = bytearray(), bytearray()
        try:
            with anyio.fail_after(limit_s):
                async with anyio.create_task_group() as reading:
                    reading.start_soon(_read, process.stdout, said, progress)
                    reading.start_soon(_read, process.stderr, complaint, None)
                code = await process.wait()
        except TimeoutError:
            raise DeadlineExceeded(f"qemu-img {arguments[0]} did not end within {limit_s:g} s.") from None
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                    await process.wait()
                await process.aclose()
        if code not in good:
            raise _failure(arguments[0], code, complaint.decode(errors="replace").strip())
        return bytes(said)


async def _read(stream: anyio.abc.ByteReceiveStream | None, into: bytearray, progress: Progress | None) -> None:
    """Everything the stream says, its first SAID_MAX bytes kept; percents are told as they come."""
    assert stream is not None
    told, tail = -1, b""
    async for chunk in stream:
        into += chunk[: SAID_MAX - len(into)]
        if progress is None:
            continue
        tail = (tail + chunk)[-256:]
        found = _PERCENT.findall(tail)
        if found and (percent := min(100, int(float(found[-1])))) > told:
            told = percent
            progress(percent)


def _failure(verb: str, code: int, complaint: str) -> DiskFull | HostError:
    text = complaint[-500:] or f"exit status {code}"
    if "No space left" in text:
        return DiskFull(f"qemu-img {verb}: {text}", hint="Free space on the host or choose another cell.")
    return HostError(f"qemu-img {verb}: {text}", code="image_tool_failed", hint="See whether the image is whole.")
