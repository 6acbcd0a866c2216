"""Which process is meant: a pid together with the moment it started.

A pid alone is not a name: after a reboot or a wrap-around it belongs to somebody else. Everything here that signals
or waits goes through a pidfd that was checked against the recorded start, so a stranger is never touched.

It does not start processes and knows nothing of nodes.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec


class ProcessId(msgspec.Struct, frozen=True):
    """One process of one boot. ``started`` is in clock ticks since boot (proc(5), stat field 22)."""

    pid: int
    started: int
    boot: str


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> ProcessId | None:
    """The process that has this pid now; None when there is none or only its zombie is left."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the name before it may contain blanks and brackets
    if fields[0] in "ZX":
        return None
    return ProcessId(pid=pid, started=int(fields[19]), boot=boot_id())


def is_alive(process: ProcessId) -> bool:
    return identify(process.pid) == process


def send_signal(process: ProcessId, number: signal.Signals) -> bool:
    """Deliver it to exactly this process. False when it is gone already."""
    with _pidfd(process) as descriptor:
        if descriptor is None:
            return False
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        return True


def wait_gone(process: ProcessId, timeout_s: float) -> bool:
    """Whether it ended within the time. A parent still has to reap its own child; a zombie counts as ended."""
    with _pidfd(process) as descriptor:
        if descriptor is None:
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            if poll.poll(left * 1000):
                return True
        return not is_alive(process)


def end(process: ProcessId, *, patience_s: float) -> bool:
    """SIGTERM, then SIGKILL after ``patience_s`` seconds. Whether it went by itself."""
    if not send_signal(process, signal.SIGTERM) or wait_gone(process, patience_s):
        return True
    send_signal(process, signal.SIGKILL)
    wait_gone(process, 5.0)
    return False


def read_record(path: Path) -> ProcessId | None:
    """What ``write_record`` left; None when there is no such file or it was torn by a crash."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProcessId)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_record(path: Path, process: ProcessId) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(msgspec.json.encode(process) + b"\n")
    temporary.rename(path)


@contextlib.contextmanager
def _pidfd(process: ProcessId) -> Iterator[int | None]:
    """A descriptor of this very process, or None. Checked after opening: from then on the pid can't change hands."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield descriptor if is_alive(process) else None
    finally:
        os.close(descriptor)
