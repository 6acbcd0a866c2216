"""Does KVM really execute guest code here? Asked of a boot sector, because nothing less tells.

Why: there are machines where ``/dev/kvm`` opens, answers its API version and even runs a raw page of code, and where a
guest nevertheless hangs for ever in its BIOS (measured: a flat binary at the reset vector and raw KVM_RUN both "work" on
such a machine). So the probe is a real, tiny guest: SeaBIOS loads a boot sector that writes to QEMU's debug-exit port.

The answer is kept in ``virt_probe.json`` for this boot of the kernel and this QEMU, since both can change it. Blocks for
up to two limits: call it from a thread where a loop runs.
"""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, Literal

import msgspec

LIMIT_S: Final = 1.0  # TCG takes 0.07 s for the same guest
ATTEMPTS: Final = 2  # a busy machine may miss the first
EXECUTED: Final = (0x2A << 1) | 1  # isa-debug-exit's status for the value the sector writes
# mov al, 0x2a; out 0xf4, al; cli; hlt; jmp
BOOT_SECTOR: Final = bytes([0xB0, 0x2A, 0xE6, 0xF4, 0xFA, 0xF4, 0xEB, 0xFD]).ljust(510, b"\0") + b"\x55\xaa"
PROGRAM: Final = "qemu-system-x86_64"
PROBE_FILE: Final = "virt_probe.json"  # the answer, kept with the boot and the QEMU it was found with
DEVICE: Final = Path("/dev/kvm")
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

VirtChoice = Literal["auto", "kvm", "qemu"]


class VirtProbe(msgspec.Struct, frozen=True):
    """``note`` is one sentence for people: why ``virt_type`` is what it is."""

    virt_type: Literal["kvm", "qemu"]
    note: str


class _Kept(msgspec.Struct, frozen=True):
    key: str
    answer: VirtProbe


def choose_virt_type(
    folder: Path,
    wanted: VirtChoice = "auto",
    *,
    program: str = PROGRAM,
    device: Path = DEVICE,
    boot_id: Path = BOOT_ID,
    limit_s: float = LIMIT_S,
) -> VirtProbe:
    """The virtualisation to use: as ``wanted``, or by the probe. ``folder`` keeps the answer until the next boot."""
    if wanted == "kvm":
        return VirtProbe("kvm", "KVM, as configured; it was not probed.")
    if wanted == "qemu":
        return VirtProbe("qemu", "Emulation, as configured.")
    if not device.exists():
        return VirtProbe("qemu", f"There is no {device}, so guests are emulated, which is slower.")
    kept = folder / PROBE_FILE
    key = f"{_first_line(boot_id)} {_version(program)}"
    try:
        known = msgspec.json.decode(kept.read_bytes(), type=_Kept)
    except (OSError, msgspec.MsgspecError):
        known = None
    if known is not None and known.key == key:
        return known.answer
    answer = probe(program=program, device=device, limit_s=limit_s)
    folder.mkdir(parents=True, exist_ok=True)
    fresh = kept.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(_Kept(key, answer)))
    fresh.replace(kept)
    return answer


def probe(*, program: str = PROGRAM, device: Path = DEVICE, limit_s: float = LIMIT_S) -> VirtProbe:
    """Boot the sector under KVM now."""
    for _ in range(ATTEMPTS):
        begun = time.monotonic()
        status, said = _boot(program, limit_s)
        if status == EXECUTED:
            return VirtProbe("kvm", f"KVM executes guest code (probed in {time.monotonic() - begun:.2f} s).")
        if status is not None:
            reason = said.splitlines()[-1][-200:] if said else f"QEMU ended with status {status}"
            return VirtProbe(
                "qemu", f"{device} exists, but QEMU can't use it ({reason}), so guests are emulated, which is slower."
            )
    return VirtProbe(
        "qemu",
        f"{device} exists, but a guest under it executes nothing within {limit_s:g} s, so guests are emulated, which is slower.",
    )


def _boot(program: str, limit_s: float) -> tuple[int | None, str]:
    """Exit status (None = hung and was killed) and what QEMU complained of."""
    with tempfile.TemporaryDirectory(prefix="nano-probe-") as room:
        sector = Path(room) / "sector"
        sector.write_bytes(BOOT_SECTOR)
        command = [program, "-accel", "kvm", "-machine", "pc", "-m", "16", "-nodefaults", "-no-user-config"]
        command += ["-display", "none", "-vga", "none", "-boot", "c"]
        command += ["-drive", f"file={sector},format=raw,if=ide,readonly=off"]
        command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            return 127, f"{program} can't be run: {error.strerror}"
        with process:
            try:
                _, said = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                return None, ""
        return process.returncode, said.decode(errors="replace").strip()


def _version(program: str) -> str:
    try:
        said = subprocess.run([program, "--version"], capture_output=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "no version"
    return said.decode(errors="replace").partition("\n")[0].strip()


def _first_line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return "no boot id"
