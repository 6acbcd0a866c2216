"""Real parts for system tests: a private libvirtd (with its QEMU) that lives and dies with a file of tests, and a Chromium.

Needs root, libvirtd and QEMU; a machine without them fails these tests, it does not skip them.
"""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from nano.hypervisor import local_libvirtd
from nano.ui.testing.browser import chromium, first_visit, window
from nano.ui.testing.demo import demo_core
from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.stage import Stage, stage


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


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture
def core() -> FakeCore:
    """What ``portal`` has behind it."""
    return demo_core(pace_s=0.2)


@pytest.fixture
async def portal(tmp_path: Path, core: FakeCore) -> AsyncIterator[Stage]:
    async with stage(tmp_path, core) as running:
        yield running


@pytest.fixture
async def page(browser: Browser, portal: Stage) -> AsyncIterator[Page]:
    """Of a first visit to the portal."""
    async with window(browser, portal.portal) as page:
        await first_visit(page)
        yield page
