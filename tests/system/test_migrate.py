"""A guest moves between two hosts that know nothing of each other but a network: its disks, its system, its identity."""

import base64
import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu  # type: ignore[import-untyped]
import pytest

from nano.hypervisor import local_libvirtd
from nano.tools.guest_image.builder import cache_folder, ensure_image
from nano.tools.testbed.lan import SUBNET, lan
from nano.tools.testbed.pinger import Pinger
from nano.tools.testbed.site import Site
from nano.tools.testbed.zone import until

pytestmark = pytest.mark.timeout(280)

log = logging.getLogger(__name__)

ADDRESS = f"{SUBNET}.77"


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

    def slow_down(self, mebis: int) -> None:
        """So many MiB of it a second are handed over, at the most."""
        self._domain.migrateSetMaxSpeed(mebis)

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


def test_a_running_guest_moves_and_answers_all_the_while(site: Site) -> None:
    one, _ = site.cells.values()
    guest_id = site.row("guest", "web")["id"]
    there = Agent(site.host(2), guest_id)
    booted = there.run("cat /proc/sys/kernel/random/boot_id; echo kept > /kept; sync")
    there.run(f"ip address add {ADDRESS}/24 dev eth0; ip link set eth0 up")

    site.ctl("guest", "rule", "add", "web", "drop", "--protocol", "tcp", "--port", "9", "--wait")
    site.ctl("guest", "rule", "default", "web", "accept", "--wait")

    with Pinger(site.network.inside(site.network.switch, []), ADDRESS) as pinger:
        site.ctl("guest", "migrate", "web", "--to", one, "--live", "--wait")
        here = Agent(site.host(1), guest_id)
        assert here.run("cat /proc/sys/kernel/random/boot_id") == booted, "it was not started anew"
    moves = [task for task in site.ctl("task", "list") if task["kind"] == "guest.migrate"]
    moved = max(moves, key=lambda task: str(task["started_at"]))
    log.info("silent for %.3f s, answers %d; %s", *pinger.silence, moved["steps"][1]["detail"])
    assert pinger.silence.answers > 10
    assert "stood still for" in moved["steps"][1]["detail"]

    row = site.row("guest", "web")
    assert (row["cell"], row["state"]) == (one, "running")
    assert here.run("cat /kept") == "kept"
    nothing_left(site, guest_id)


def nothing_left(site: Site, guest_id: str) -> None:
    """On the second host, when the guest is on the first."""
    until(lambda: site.ctl("drift") == [] and site.ctl("orphans") == [], "all is as the journals say")
    assert site.shared or not [name for name in site.volumes(2) if guest_id in name]
    assert not libvirt.open(local_libvirtd.uri_of(site.host(2))).listAllDomains()


@pytest.mark.parametrize("site", ["shared"], indirect=True)
def test_a_handover_that_is_broken_off_leaves_it_running_where_it_was(site: Site) -> None:
    one, two = site.cells.values()
    guest_id = site.row("guest", "web")["id"]
    here = Agent(site.host(1), guest_id)
    booted = here.run("cat /proc/sys/kernel/random/boot_id")
    here.slow_down(1)

    def under_way() -> str:
        task: str = site.ctl("guest", "migrate", "web", "--to", two, "--live", "--no-wait")["task"]["id"]
        until(lambda: site.row("task", task)["progress"] > 1, "its progress is shown")
        return task

    def ended(task: str) -> str:
        until(lambda: site.row("task", task)["state"] in ("done", "failed", "cancelled"), "the task has ended", 60)
        row = site.row("guest", "web")
        assert (row["cell"], row["state"]) == (one, "running")
        assert here.run("cat /proc/sys/kernel/random/boot_id") == booted
        state: str = site.row("task", task)["state"]
        return state

    cancelled = under_way()
    site.ctl("task", "cancel", cancelled)
    assert ended(cancelled) == "cancelled"
    nothing_left(site, guest_id)

    broken = under_way()
    daemon = local_libvirtd.status(site.host(2))
    os.kill(daemon.pid, signal.SIGKILL)
    assert ended(broken) == "failed"
    local_libvirtd.start(site.host(2), netns=two, hide_kvm=True)
    site.cell(2, "stop")
    site.cell(2, "start")
    nothing_left(site, guest_id)

    here.slow_down(1000)
    site.ctl("guest", "migrate", "web", "--to", two, "--live", "--wait")
    assert Agent(site.host(2), guest_id).run("cat /proc/sys/kernel/random/boot_id") == booted
    site.ctl("guest", "delete", "web", "--force", "--wait")
    assert site.volumes(1) == site.volumes(2) == set()
    assert site.ctl("orphans") == []
