"""Real parts for system tests: a private libvirtd (with its QEMU) that lives and dies with a file of tests.

Needs root, libvirtd and QEMU; a machine without them fails these tests, it does not skip them.
"""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nano.hypervisor import local_libvirtd


def end_private_libvirtd(folder: Path) -> None:
    """Stop it and kill its guests (only processes recorded in its own folder), then remove the folder."""
    local_libvirtd.stop(folder)
    for pid in local_libvirtd.guest_processes(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def private_libvirtd() -> Iterator[Path]:
    """Folder of a running private libvirtd without KVM; ``local_libvirtd.uri_of`` tells where it answers.

    One a module, so that no file of tests finds domains that another left.
    """
    folder = Path(tempfile.mkdtemp(prefix="nano-host-"))
    try:
        local_libvirtd.start(folder, hide_kvm=True)
        yield folder
    finally:
        end_private_libvirtd(folder)
