"""A private libvirtd for hosts where none runs (no systemd, a container, several cells on one machine).

Why: Nano must work on a machine without an init system and must not change the host's own libvirt. The daemon gets
its own mount namespace (``private_root``) in which all of libvirt's folders are one folder of ours, and optionally a
network namespace, so several hosts run side by side.

Invariants: guests outlive their libvirtd (QEMU is its own process; a new libvirtd in the same folder finds it again
through the state files and monitor socket there); a process is signalled only when pid *and* start time are those we
recorded; one folder has at most one libvirtd (a lock that it holds itself). It does not stop guests and does not remove
the folder.
All functions block for up to seconds: call them from a thread where a loop runs. They need root.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from nano.domain.errors import HostError

START_LIMIT_S: Final = 30.0
STOP_LIMIT_S: Final = (
    5.0  # then SIGKILL: libvirtd 9.0 sometimes hangs when stopped just after a guest's reset; guests don't mind
)
SOCKET: Final = "libvirt-sock"
SOCKET_PATH_MAX: Final = 107  # sockaddr_un.sun_path is 108 bytes with its end mark (unix(7))

LIBVIRTD_CONF: Final = """\
# Written once by Nano for its private libvirtd; edit freely, it is not written again.
listen_tls = 0
listen_tcp = 0
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0700"
# Without a DMI of its own every private libvirtd on this machine would have the machine's id.
host_uuid = "{host_uuid}"
log_level = 3
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
max_clients = 200
max_workers = 40
keepalive_interval = 5
keepalive_count = 5
"""

QEMU_CONF: Final = """\
# Written once by Nano for its private libvirtd; edit freely, it is not written again.
stdio_handler = "file"     # no virtlogd beside us
security_driver = "none"
user = "root"
group = "root"
remember_owner = 0
max_queued = 0
namespaces = []            # the private mount namespace is ours already
vnc_listen = "127.0.0.1"
"""


class LibvirtdStatus(msgspec.Struct, frozen=True):
    """A private libvirtd as it is now. ``pid`` is 0 when it does not run; ``uri`` is what it would answer at."""

    running: bool
    pid: int
    uri: str


def start(folder: Path, *, netns: str | None = None, hide_kvm: bool = False) -> str:
    """Start a libvirtd whose whole state is in ``folder`` and return its URI; one that already runs is kept.

    ``netns`` is a name below /run/netns. ``hide_kvm`` gives it a /dev without kvm: needed where the virtualisation
    probe failed, else libvirt spends seconds on probing it. Raises HostError(code="libvirtd_failed").
    """
    folder = folder.absolute()
    if os.geteuid() != 0:
        raise HostError("A private libvirtd needs root.", code="libvirtd_failed", hint="Run it as root or with sudo.")
    for name in ("run", "lib", "etc", "log", "cache", "room"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if not status(folder).running:
            _write_config(folder)
            _make_alias(folder)
            _spawn(folder, netns, hide_kvm)
        _wait_until_it_answers(folder)
        return uri_of(folder)


def status(folder: Path) -> LibvirtdStatus:
    """Whether the libvirtd recorded in ``folder`` is that very process still."""
    folder = folder.absolute()
    try:
        record = json.loads((folder / "libvirtd.json").read_text())
        pid, started = int(record["pid"]), int(record["started"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return LibvirtdStatus(False, 0, uri_of(folder))
    alive = _start_ticks(pid) == started
    return LibvirtdStatus(alive, pid if alive else 0, uri_of(folder))


def stop(folder: Path) -> None:
    """End that libvirtd and leave its guests running. Succeeds when it does not run. Raises HostError."""
    folder = folder.absolute()
    if not folder.is_dir():
        return
    with _locked(folder):
        now = status(folder)
        if now.running:
            _end(now.pid, _start_ticks(now.pid))
        (folder / "libvirtd.json").unlink(missing_ok=True)
        _remove_alias(folder)


def uri_of(folder: Path) -> str:
    path = quote(os.fsencode(_reachable_run(folder.absolute()) / SOCKET))  # spaces and the like are no part of a URI
    return f"qemu:///system?socket={path}"


def guest_processes(folder: Path) -> list[int]:
    """Pids of the QEMU processes that belong to ``folder`` (recorded there by libvirt and still alive)."""
    found = []
    for path in sorted((folder / "run" / "qemu").glob("*.pid")):
        with contextlib.suppress(ValueError, OSError):
            pid = int(path.read_text())
            if f"guest={path.stem}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def _reachable_run(folder: Path) -> Path:
    """``folder/run``, or the short name for it where a socket's whole path would not fit into its address."""
    run = folder / "run"
    if len(os.fsencode(run / SOCKET)) <= SOCKET_PATH_MAX:
        return run
    return _alias(folder)


def _alias(folder: Path) -> Path:
    return Path("/run") / f"nano-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"


def _make_alias(folder: Path) -> None:
    if _reachable_run(folder) != folder / "run":
        _remove_alias(folder)
        _alias(folder).symlink_to(folder / "run")


def _remove_alias(folder: Path) -> None:
    alias = _alias(folder)
    if alias.is_symlink():
        alias.unlink()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_config(folder: Path) -> None:
    etc = folder / "etc"
    if not (etc / "libvirtd.conf").exists():
        (etc / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(host_uuid=uuid.uuid4()))
    if not (etc / "qemu.conf").exists():
        (etc / "qemu.conf").write_text(QEMU_CONF)
    if not (etc / "nwfilter").exists() and Path("/etc/libvirt/nwfilter").is_dir():
        shutil.copytree("/etc/libvirt/nwfilter", etc / "nwfilter")


def _spawn(folder: Path, netns: str | None, hide_kvm: bool) -> None:
    """setsid --fork lets init adopt it; nsenter, unshare and private_root exec on, so it stays one process."""
    command = ["setsid", "--fork"]
    if netns:
        command += ["nsenter", f"--net=/run/netns/{netns}"]
    command += ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "nano.hypervisor.private_root"]
    command += ["--folder", str(folder)]
    command += ["--own-sysfs"] if netns else []
    command += ["--hide-kvm"] if hide_kvm else []
    command += ["--", "libvirtd", "-f", "/etc/libvirt/libvirtd.conf", "-p", "/run/libvirt/libvirtd.pid"]
    with open(folder / "log" / "start.log", "wb") as log:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")


def _wait_until_it_answers(folder: Path) -> None:
    begun, seen = time.monotonic(), False
    while (waited := time.monotonic() - begun) < START_LIMIT_S:
        running = status(folder).running
        if running and _answers(_reachable_run(folder) / SOCKET):
            return
        if (seen and not running) or (waited > 1 and not seen and (folder / "log" / "start.log").stat().st_size):
            break  # it ended, or never came to be and said why
        seen = seen or running
        time.sleep(0.02)
    said = (folder / "log" / "start.log").read_text(errors="replace").strip()[-500:]
    raise HostError(
        f"The private libvirtd in {folder} did not start. {said}".strip(),
        code="libvirtd_failed",
        hint=f"See {folder}/log/libvirtd.log.",
    )


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _start_ticks(pid: int) -> int:
    """Start time of a live process in clock ticks since boot (proc(5), field 22); 0 when there is none or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in ("Z", "X") else int(fields[19])


def _end(pid: int, started: int) -> None:
    ends = time.monotonic() + STOP_LIMIT_S
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        while time.monotonic() < ends:
            if _start_ticks(pid) != started:
                return
            time.sleep(0.02)
        ends = time.monotonic() + STOP_LIMIT_S
    raise HostError(f"libvirtd (pid {pid}) does not end.", code="libvirtd_failed", hint="Look at its log.")
