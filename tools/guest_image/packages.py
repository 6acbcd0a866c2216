"""The guest's packages: which ones, from this machine's own apt sources, fetched once and unpacked side by side.

apt checks their signatures; here their digests are checked again before each use, so that a download cut short is
fetched again. Nothing is installed, and no package's own script ever runs.
"""

import hashlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from nano.domain.errors import Failure

# A kernel that is small and made for virtual machines, as Debian and Ubuntu call it; the first that apt knows.
KERNELS: Final = ("linux-image-cloud-amd64", "linux-image-virtual", "linux-image-amd64")
# "new|old": Debian 13 and Ubuntu 24.04 renamed libraries when time became 64 bits wide everywhere.
USERLAND: Final = (
    *("busybox-static", "qemu-guest-agent", "dropbear-bin", "e2fsprogs", "util-linux"),
    *("libc6", "libgcc-s1", "libglib2.0-0t64|libglib2.0-0", "libpcre2-8-0", "libnuma1", "libudev1", "liburing2"),
    *("libext2fs2t64|libext2fs2", "libcom-err2", "libss2", "libblkid1", "libuuid1"),
    *("libcrypt1", "libtomcrypt1", "libtommath1", "libgmp10", "zlib1g", "libatomic1", "libcap2"),
)
_UNUSED: Final = ("./usr/share/doc*", "./usr/share/man*", "./usr/share/locale*", "./usr/share/lintian*")

Progress = Callable[[str], None]


class Package(msgspec.Struct, frozen=True):
    """One .deb as apt would fetch it now. The file name carries name and version, ``digest`` is "SHA256:…" or "SHA512:…"
    (Debian's lists carry the one, Ubuntu's the other)."""

    file: str
    digest: str


def resolve() -> list[Package]:
    """What apt would fetch. Raises Failure(code="packages_unknown") when it has no lists or lacks one of them."""
    known = _known({name for entry in (*KERNELS, *USERLAND) for name in entry.split("|")})
    names = [_first(entry.split("|"), known) for entry in USERLAND] + _kernel(_first(list(KERNELS), known))
    printed = _apt("apt-get", "download", "--print-uris", *names)
    found = [Package(*line) for line in re.findall(r"^'\S+' (\S+) \d+ (SHA(?:256|512):\w+)", printed, re.M)]
    if len(found) != len(set(names)):
        raise Failure(
            f"apt offers {len(found)} of the {len(set(names))} packages of the tiny guest.",
            code="packages_unknown",
            hint="Run apt-get update.",
        )
    return sorted(found, key=lambda package: package.file)


def fetch(packages: list[Package], folder: Path, progress: Progress) -> None:
    """Bring them into ``folder`` unless they are there. Raises Failure(code="packages_unavailable")."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [package for package in packages if not _whole(folder / package.file, package)]
    if not missing:
        return
    for package in missing:
        (folder / package.file).unlink(missing_ok=True)
    # name=version: what was resolved, even when the lists change in between.
    wanted = ["=".join(package.file.rsplit("_", 1)[0].replace("%3a", ":").split("_", 1)) for package in missing]
    with subprocess.Popen(
        ["apt-get", "-q", "download", *wanted], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        for line in process.stdout:
            if match := re.match(r"Get:\d+ .* (\S+ \S+) \[", line):
                progress(match[1])
        complaint = process.stderr.read()
    bad = [package.file for package in packages if not _whole(folder / package.file, package)]
    if bad:
        reason = complaint.strip().splitlines()[-1:] or ["the files differ from what apt announced"]
        raise Failure(
            f"{len(bad)} packages of the tiny guest could not be fetched ({reason[0]}).",
            code="packages_unavailable",
            hint="Check the network and apt's sources, then run this again.",
        )


def unpack(packages: list[Package], folder: Path, into: Path, progress: Progress) -> None:
    """Every file of every package below ``into``, without documentation."""
    into.mkdir(parents=True, exist_ok=True)
    for package in packages:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", folder / package.file], stdout=subprocess.PIPE) as deb:
            skipped = [f"--exclude={pattern}" for pattern in _UNUSED]
            subprocess.run(["tar", "-x", "-C", into, "--no-same-owner", *skipped], stdin=deb.stdout, check=True)
        if deb.returncode:
            raise Failure(f"{package.file} can't be unpacked.", code="packages_unavailable", hint=f"Delete {folder}.")
        progress(package.file.split("_")[0])


def _known(names: set[str]) -> set[str]:
    """Those of the names that apt has a real package for."""
    listed = subprocess.run(["apt-cache", "policy", *sorted(names)], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (?!\(none\))", listed, re.M))


def _first(names: list[str], known: set[str]) -> str:
    for name in names:
        if name in known:
            return name
    raise Failure(f"apt knows no package {' or '.join(names)}.", code="packages_unknown", hint="Run apt-get update.")


def _kernel(name: str) -> list[str]:
    """The versioned packages behind a kernel's name: on Debian one, on Ubuntu the modules are apart."""
    found: list[str] = []
    queue = [name]
    while queue:
        printed = _apt("apt-cache", "depends", "--important", queue.pop())
        for found_name in re.findall(r"Depends: (linux-(?:image|modules)-\d\S+)", printed):
            if found_name not in found:
                found.append(found_name)
                queue.append(found_name)
    return found


def _apt(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        complaint = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise Failure(f"{command[0]} failed ({complaint[0]}).", code="packages_unknown", hint="Run apt-get update.")
    return done.stdout


def _whole(path: Path, package: Package) -> bool:
    if not path.exists():
        return False
    algorithm, _, wanted = package.digest.partition(":")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm.lower()).hexdigest() == wanted
