"""A real guest whose own system reads its cloud-init seed: user, password, key, name, disks; and no secret in clear."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nano.core.sha_crypt import sha512_crypt
from nano.tools.testbed.inside import Inside, tiny_zone
from nano.tools.testbed.zone import Zone, until

pytestmark = pytest.mark.timeout(280)

BRIDGE = "nano-seed"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0000000000000000000000000000000000000000000 li@desk"
PASSWORD = "Correct-Horse-7!"


@pytest.fixture(scope="module")
def zone(private_libvirtd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    with tiny_zone(tmp_path_factory.mktemp("zone"), private_libvirtd, 17920, BRIDGE) as zone:
        yield zone


def told(**fields: str) -> list[str]:
    return [word for name, value in fields.items() for word in ("--cloud-init", f"{name}={value}")]


def test_a_guest_is_what_its_seed_says_and_nothing_of_it_is_left(zone: Zone) -> None:
    words = told(user="ops", password=PASSWORD, ssh_keys=KEY, host_name="shop-1", data_path="/srv/data")
    size = ("--memory", "128MiB", "--disk", "256MiB", "--disk", "16MiB", "--image", "tiny")
    zone.ctl("guest", "create", "web", *size, *words, "--start", "--wait")
    row = zone.guest("web")
    until(lambda: zone.guest("web")["agent"], "the agent answers", 120)
    inside = Inside(zone, row["id"])
    until(lambda: inside.run("cat /var/lib/cloud/instance-id") == row["id"], "the seed is read", 60)
    assert inside.run("hostname") == "shop-1"
    assert inside.run("cat /home/ops/.ssh/authorized_keys") == KEY
    hashed = inside.run("grep ^ops: /etc/shadow | cut -d: -f2")
    assert hashed == sha512_crypt(PASSWORD, hashed.split("$")[2])
    assert inside.run("grep ' /srv/data ext4 ' /proc/mounts")
    assert int(inside.run("df -m / | tail -1 | awk '{print $2}'")) > 200, "the system disk's root has grown"
    assert secrets_in(zone.state, hashed) == []
    zone.ctl("guest", "delete", "web", "--force", "--wait")
    zone.check()


def secrets_in(folder: Path, hashed: str) -> list[str]:
    """Files of any node that hold the password or its hash: journals, logs, backups, caches. Seeds belong to guests."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in (".iso", ".qcow2"):
            data = path.read_bytes()
            if PASSWORD.encode() in data or hashed.encode() in data:
                found.append(str(path.relative_to(folder)))
    return found


def test_what_can_not_be_used_is_refused_without_showing_it(zone: Zone) -> None:
    for fields, code in (
        ({"user": "root; rm -rf /"}, "invalid_user"),
        ({"password": "x" * 1000}, "invalid_password"),
        ({"user_data": "hello"}, "invalid_user_data"),
        ({"user_data": "#cloud-config\nruncmd: [touch"}, "invalid_user_data"),
        ({"data_path": "/opt/../etc"}, "invalid_data_path"),
    ):
        refused = zone.try_ctl("guest", "create", "bad", "--memory", "64MiB", "--disk", "16MiB", *told(**fields))
        assert refused.returncode == 2, refused.stderr
        assert code in refused.stderr
        assert "x" * 1000 not in refused.stderr
    assert zone.ctl("guest", "list") == []
    zone.check()
