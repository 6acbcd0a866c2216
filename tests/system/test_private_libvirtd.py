"""A private libvirtd leaves no trace, runs beside others, and is told from a stranger with the same pid."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from nano.domain.errors import HostError
from nano.hypervisor import local_libvirtd
from nano.hypervisor.bridge import ensure_bridge, remove_bridge
from nano.hypervisor.virt_probe import choose_virt_type, probe


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "host"
    yield made
    local_libvirtd.stop(made)


@pytest.fixture
def netns() -> Iterator[str]:
    name = f"nano-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-netns", name, "link", "set", "lo", "up"], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


def networks_seen_by(uri: str) -> list[str]:
    connection = libvirt.open(uri)
    try:
        return sorted(interface for interface in connection.listDevices("net") or [])
    finally:
        connection.close()


def host_uuid(uri: str) -> str:
    connection = libvirt.open(uri)
    try:
        capabilities: str = connection.getCapabilities()
        return capabilities.partition("<uuid>")[2].partition("</uuid>")[0]
    finally:
        connection.close()


def test_it_starts_once_stops_and_changes_no_mount(folder: Path) -> None:
    mounts = set(Path("/proc/self/mounts").read_text().splitlines())
    uri = local_libvirtd.start(folder, hide_kvm=True)
    first = local_libvirtd.status(folder)
    assert first.running
    assert local_libvirtd.start(folder, hide_kvm=True) == uri == first.uri
    assert local_libvirtd.status(folder) == first
    added = set(Path("/proc/self/mounts").read_text().splitlines()) - mounts
    assert not [
        mount for mount in added if str(folder) in mount or "libvirt" in mount
    ]  # others may mount what they like
    local_libvirtd.stop(folder)
    local_libvirtd.stop(folder)
    assert not local_libvirtd.status(folder).running


def test_kvm_is_hidden_and_everything_else_is_there(folder: Path) -> None:
    local_libvirtd.start(folder, hide_kvm=True)
    root = Path(f"/proc/{local_libvirtd.status(folder).pid}/root")
    assert not (root / "dev/kvm").exists()
    assert {"null", "urandom", "ptmx", "pts", "shm"} <= set(os.listdir(root / "dev"))


def test_a_folder_too_deep_for_a_socket_is_reached_by_a_short_name(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 30) / "host"
    uri = local_libvirtd.start(deep, hide_kvm=True)
    try:
        assert str(deep) not in uri
        assert host_uuid(uri)
        assert local_libvirtd.uri_of(deep) == uri
    finally:
        local_libvirtd.stop(deep)
    assert not Path(uri.partition("socket=")[2]).parent.is_symlink()


def test_two_run_side_by_side_in_networks_of_their_own(tmp_path: Path, netns: str) -> None:
    uris = []
    try:
        uris.append(local_libvirtd.start(tmp_path / "a", hide_kvm=True))
        uris.append(local_libvirtd.start(tmp_path / "b", netns=netns, hide_kvm=True))
        assert host_uuid(uris[0]) != host_uuid(uris[1])
        assert [name.partition("_")[2].partition("_")[0] for name in networks_seen_by(uris[1])] == ["lo"]
    finally:
        for name in ("a", "b"):
            local_libvirtd.stop(tmp_path / name)


def test_a_recorded_pid_that_is_somebody_else_by_now_is_not_ended(folder: Path) -> None:
    folder.mkdir()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (folder / "libvirtd.json").write_text(json.dumps({"pid": stranger.pid, "started": 1}))
        assert not local_libvirtd.status(folder).running
        local_libvirtd.stop(folder)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_libvirtd_whose_starter_died_is_taken_over(folder: Path) -> None:
    local_libvirtd.start(folder, hide_kvm=True)
    pid = local_libvirtd.status(folder).pid
    code = f"""
import os, pathlib
from nano.hypervisor import local_libvirtd as subject
subject._wait_until_it_answers = lambda folder: os._exit(9)  # the starter dies before it has seen an answer
subject.start(pathlib.Path({str(folder)!r}), hide_kvm=True)
"""
    local_libvirtd.stop(folder)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    local_libvirtd.start(folder, hide_kvm=True)
    assert local_libvirtd.status(folder).pid != pid
    named = [path for path in Path("/proc").glob("[0-9]*/root") if _is_in(path, folder)]
    assert len(named) == 1


def _is_in(root: Path, folder: Path) -> bool:
    """Whether the process with this root is a libvirtd of ``folder``."""
    try:
        comm = (root.parent / "comm").read_text().strip()
        return comm == "libvirtd" and (root / "run/libvirt").samefile(folder / "run")
    except OSError:
        return False


def test_a_libvirtd_that_cannot_start_says_why(folder: Path) -> None:
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "libvirtd.conf").write_text("this is not a setting\n")
    with pytest.raises(HostError) as failure:
        local_libvirtd.start(folder, hide_kvm=True)
    assert failure.value.code == "libvirtd_failed"
    assert "libvirtd.conf" in failure.value.message


def test_the_bridge_is_made_once_has_no_address_and_goes(netns: str) -> None:
    assert ensure_bridge("nano0", netns=netns)
    assert not ensure_bridge("nano0", netns=netns)
    shown = subprocess.run(
        ["ip", "-netns", netns, "-json", "address", "show", "nano0"], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(shown)[0]["addr_info"] == []
    plug = ["ip", "-netns", netns, "link", "add", "v0", "master", "nano0", "type", "veth", "peer", "name", "v1"]
    subprocess.run(plug, check=True)
    assert not remove_bridge("nano0", netns=netns)
    subprocess.run(["ip", "-netns", netns, "link", "del", "v0"], check=True)
    assert remove_bridge("nano0", netns=netns)
    assert not remove_bridge("nano0", netns=netns)


def test_a_bridge_that_was_there_is_used_and_never_removed(netns: str) -> None:
    subprocess.run(["ip", "-netns", netns, "link", "add", "br0", "type", "bridge"], check=True)
    assert not ensure_bridge("br0", netns=netns)
    assert not remove_bridge("br0", netns=netns)


@pytest.mark.parametrize("name", ["lo", "", "a" * 16, "x; reboot", "../br"])
def test_what_cannot_be_a_bridge_is_refused(netns: str, name: str) -> None:
    with pytest.raises(HostError) as refusal:
        ensure_bridge(name, netns=netns)
    assert refusal.value.code == "bridge_failed"


def test_the_real_qemu_answers_the_probe_in_time(tmp_path: Path) -> None:
    """Whichever way it goes here, it goes within its limits and says why; the second time from what was kept."""
    answer = choose_virt_type(tmp_path)
    assert answer.note.endswith(".")
    assert choose_virt_type(tmp_path) == answer
    if Path("/dev/kvm").exists():
        assert probe().virt_type == answer.virt_type
