"""A guest moves between two hosts that know nothing of each other but a network: its disks, its system, its identity."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu  # type: ignore[import-untyped]
import pytest

from nano.hypervisor import local_libvirtd
from nano.tools.guest_image.builder import cache_folder, ensure_image
from nano.tools.testbed.lan import lan
from nano.tools.testbed.site import Site
from nano.tools.testbed.zone import until

pytestmark = pytest.mark.timeout(280)


@pytest.fixture(scope="module", params=["apart", "shared"])
def site(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Cells with volumes of their own, and cells with one storage."""
    shared = request.param == "shared"
    with lan("nsha" if shared else "nmig") as network:
        site = Site(tmp_path_factory.mktemp("site"), network, 15823 if shared else 15821, shared=shared)
        try:
            yield site
        finally:
            site.stop()


class Agent:
    """The guest's agent, on the host where it runs."""

    def __init__(self, folder: Path, guest_id: str) -> None:
        self._connection = libvirt.open(local_libvirtd.uri_of(folder))
        self._domain = self._connection.lookupByUUIDString(guest_id)

    def ask(self, execute: str, **arguments: Any) -> Any:
        command = json.dumps({"execute": execute, "arguments": arguments})
        return json.loads(libvirt_qemu.qemuAgentCommand(self._domain, command, 20, 0))["return"]

    def run(self, script: str) -> str:
        """What a shell inside says to this."""
        pid = self.ask("guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True})["pid"]
        said: dict[str, Any] = {}

        def over() -> bool:
            said.update(self.ask("guest-exec-status", pid=pid))
            return bool(said["exited"])

        until(over, script)
        return base64.b64decode(said.get("out-data", "")).decode().strip()


def test_a_stopped_guest_moves_with_its_disks_and_starts_there(site: Site) -> None:
    one, two = site.up()
    image = ensure_image(cache_folder(), lambda *_: None)
    site.ctl("image", "register", "tiny", str(image), "--wait")
    words = ("--cell", one, "--memory", "128MiB", "--disk", "256MiB", "--disk", "8MiB", "--image", "tiny", "--linked")
    site.ctl("guest", "create", "web", *words, "--wait")
    before = site.row("guest", "web")
    files = site.volumes(1)

    site.ctl("guest", "migrate", "web", "--to", two, "--wait")

    after = site.row("guest", "web")
    assert (after["cell"], after["state"], after["mac"]) == (two, "stopped", before["mac"])
    assert site.volumes(1) == (files if site.shared else set()), "nothing is left"
    assert site.volumes(2) == files
    site.ctl("guest", "start", "web", "--wait")
    until(lambda: site.row("guest", "web")["agent"], "its system has booted on the other host", 120)
    assert Agent(site.host(2), after["id"]).ask("guest-ping") == {}
    assert site.ctl("drift") == []
    assert site.ctl("orphans") == []


def test_a_running_guest_moves_and_goes_on(site: Site) -> None:
    one, _ = site.cells.values()
    guest_id = site.row("guest", "web")["id"]
    there = Agent(site.host(2), guest_id)
    booted = there.run("cat /proc/sys/kernel/random/boot_id; echo kept > /kept; sync")

    site.ctl("guest", "migrate", "web", "--to", one, "--live", "--wait")

    row = site.row("guest", "web")
    assert (row["cell"], row["state"]) == (one, "running")
    here = Agent(site.host(1), guest_id)
    assert here.run("cat /proc/sys/kernel/random/boot_id") == booted, "it was not started anew"
    assert here.run("cat /kept") == "kept"
    assert site.shared or not [name for name in site.volumes(2) if guest_id in name], "nothing is left"
    assert not libvirt.open(local_libvirtd.uri_of(site.host(2))).listAllDomains()
    assert site.ctl("drift") == []
    assert site.ctl("orphans") == []
    site.ctl("guest", "delete", "web", "--force", "--wait")
    assert site.volumes(1) == site.volumes(2) == set()
    assert site.ctl("orphans") == []
