"""cloud-init itself, as this machine's distribution has it, reads the seeds: none of their texts is only our idea of its form.

Its packages are fetched once by apt and unpacked beside each other; nothing is installed, and no program of theirs is started.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nano.domain.cloud_init import CloudInit, Secrets, seed_files
from nano.domain.machine import GIBI, MachineSpec
from nano.tools.guest_image.builder import cache_folder

pytestmark = pytest.mark.timeout(120)

PACKAGES = (
    "cloud-init", "python3-yaml", "python3-configobj", "python3-jsonschema", "python3-pyrsistent", "python3-attr", "python3-six",
    "python3-jinja2", "python3-markupsafe", "python3-requests", "python3-urllib3", "python3-chardet", "python3-certifi",
    "python3-idna", "python3-oauthlib", "python3-jsonpatch", "python3-json-pointer", "python3-serial", "python3-netifaces",
)  # fmt: skip
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0000000000000000000000000000000000000000000 li@desk"
HASH = "$6$abcdefgh$KQeXafAQAaOoKTevphVU215RvJdgzyfASRasIOuh12hO8u0r1bGW92ZnTmC9IjsiQ8VPiTXBiZF49dFL1U4wX/"
SPEC = MachineSpec(name="web_1", cores=1, memory=GIBI, disks=(GIBI,) * 3, mac="52:54:00:00:00:01", seed=True)
TOLD = CloudInit(
    user="ops",
    ssh_keys=(KEY,),
    host_name="shop-1",
    address="10.0.0.5/24",
    gateway="10.0.0.1",
    dns=("10.0.0.2",),
    data_path="/srv",
)
SEEDS = {
    "plain": (CloudInit(user="root"), Secrets()),
    "whole": (TOLD, Secrets(HASH, "#cloud-config\npackages: [htop]\nruncmd: [touch /x]\nssh_pwauth: false\n")),
    "script": (TOLD, Secrets(user_data="#!/bin/sh\necho hello\n")),
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, unpacked = cache_folder() / "cloud-init", tmp_path_factory.mktemp("packages")
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in PACKAGES if not list(folder.glob(f"{name}_*.deb"))]
    if missing:
        subprocess.run(["apt-get", "-q", "download", *missing], cwd=folder, check=True, capture_output=True, timeout=90)
    for deb in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", deb, unpacked], check=True)
    return unpacked


@pytest.fixture(scope="module")
def read(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("seeds")
    for name, (told, secrets) in SEEDS.items():
        (folder / name).mkdir()
        for file, text in seed_files("1b4e28ba", SPEC, told, secrets).items():
            (folder / name / file).write_text(text)
    reader = Path(__file__).with_name("cloud_init_reader.py")
    command = ["/usr/bin/python3", reader, packages, *(folder / name for name in SEEDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    return dict(zip(SEEDS, json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_the_guest_becomes_what_was_asked(read: dict[str, Any]) -> None:
    config = read["whole"]["config"]
    assert read["whole"]["meta"] == {"instance-id": "1b4e28ba", "local-hostname": "shop-1"}
    assert config["hostname"] == "shop-1"
    (user,) = config["users"]
    assert (user["name"], user["passwd"], user["hashed_passwd"], user["lock_passwd"]) == ("ops", HASH, HASH, False)
    assert user["ssh_authorized_keys"] == [KEY]
    assert config["growpart"] == {"mode": "auto", "devices": ["/"]}
    assert config["resize_rootfs"] is True
    assert [disk["device"] for disk in config["fs_setup"]] == ["/dev/sdb", "/dev/sdc"]
    assert [mount[:2] for mount in config["mounts"]] == [["/dev/sdb", "/srv"], ["/dev/sdc", "/srv2"]]
    root = read["plain"]["config"]
    assert (root["users"], root["disable_root"], root["ssh_pwauth"]) == ([{"name": "root"}], False, False)


def test_what_people_add_is_read_and_has_the_last_word(read: dict[str, Any]) -> None:
    assert read["whole"]["parts"] == ["text/cloud-config"] * 2
    config = read["whole"]["config"]
    assert (config["packages"], config["runcmd"], config["ssh_pwauth"]) == (["htop"], ["touch /x"], False)
    assert read["script"]["parts"] == ["text/cloud-config", "text/x-shellscript"]


def test_three_kinds_of_systems_know_their_card(read: dict[str, Any]) -> None:
    network = read["whole"]["network"]
    assert "iface eth0 inet static\n    address 10.0.0.5/24" in network["etc/network/interfaces"]
    assert "gateway 10.0.0.1" in network["etc/network/interfaces"]
    assert "set-name: eth0" in network["etc/netplan/50.yaml"]
    redhat = network["etc/sysconfig/network-scripts/ifcfg-eth0"]
    assert "DEVICE=eth0" in redhat
    assert "HWADDR=52:54:00:00:00:01" in redhat
    assert "IPADDR=10.0.0.5" in redhat
    assert "iface eth0 inet dhcp" in read["plain"]["network"]["etc/network/interfaces"]
