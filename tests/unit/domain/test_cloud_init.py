"""What a seed says, and what can't be asked of one."""

import json
from typing import Any

import pytest

from nano.domain import cloud_init as ci
from nano.domain.errors import NanoError
from nano.domain.machine import MEBI, Hardware, MachineSpec
from nano.domain.zone import StockTemplates
from tests.unit.domain.test_guest_commands import Bench, create

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0000000000000000000000000000000000000000000 li@desk"
SPEC = MachineSpec(name="web_1", cores=1, memory=64 * MEBI, disks=(16 * MEBI,) * 3, mac="52:54:00:00:00:01", seed=True)
NONE = ci.Secrets()


def files(told: ci.CloudInit, secrets: ci.Secrets = NONE, spec: MachineSpec = SPEC) -> dict[str, str]:
    return ci.seed_files("guest-id", spec, told, secrets)


def test_a_seed_has_name_user_keys_disks_and_growth() -> None:
    made = files(ci.CloudInit(user="ops", ssh_keys=(KEY,), data_path="/srv/data"), ci.Secrets("$6$salt$hash"))
    assert made["meta-data"] == 'instance-id: "guest-id"\nlocal-hostname: "web-1"\n'
    text = made["user-data"]
    assert text.startswith("#cloud-config\n")
    for line in (
        'hostname: "web-1"',
        '  - name: "ops"',
        '    passwd: "$6$salt$hash"',
        f'      - "{KEY}"',
        '  mode: "auto"',
        "resize_rootfs: true",
        '  - ["/dev/sdb", "/srv/data", "ext4", "defaults,nofail", "0", "2"]',
        '  - ["/dev/sdc", "/srv/data2", "ext4", "defaults,nofail", "0", "2"]',
        "    overwrite: false",
    ):
        assert line in text.splitlines()
    virtio = MachineSpec(
        **{name: getattr(SPEC, name) for name in SPEC.__struct_fields__} | {"hardware": Hardware(disk="virtio")}
    )
    assert '"/dev/vdb"' in files(ci.CloudInit(), spec=virtio)["user-data"]


def test_the_network_is_dhcp_or_what_was_said() -> None:
    assert "    dhcp4: true" in files(ci.CloudInit())["network-config"].splitlines()
    text = files(ci.CloudInit(address="10.0.0.5/24", gateway="10.0.0.1", dns=("10.0.0.2",)))["network-config"]
    for line in (
        "  eth0:",
        '      macaddress: "52:54:00:00:00:01"',
        '    set-name: "eth0"',
        '      - "10.0.0.5/24"',
        '    gateway4: "10.0.0.1"',
        '        - "10.0.0.2"',
    ):
        assert line in text.splitlines()
    assert "dhcp4" not in text


@pytest.mark.parametrize(
    ("extra", "kind"), [("#cloud-config\na: 1\n", "text/cloud-config"), ("#!/bin/sh\n", "text/x-shellscript")]
)
def test_what_people_add_comes_after_nanos_own(extra: str, kind: str) -> None:
    text = files(ci.CloudInit(), ci.Secrets(user_data=extra))["user-data"]
    assert text.startswith("Content-Type: multipart/mixed;")
    assert text.index("growpart") < text.index(extra)
    assert text.count(kind) >= 1


def test_no_value_can_be_more_than_itself() -> None:
    nasty = 'x"\nruncmd:\n  - rm -rf /'
    line = files(ci.CloudInit(), ci.Secrets(passwd=nasty))["user-data"].split("    passwd: ", 1)[1].splitlines()[0]
    assert json.loads(line) == nasty


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"user": "Root"}, "invalid_user"),
        ({"user": "a b"}, "invalid_user"),
        ({"user": "x" * 10_000}, "invalid_user"),
        ({"user": "a\n"}, "invalid_user"),
        ({"password": "a\nb"}, "invalid_password"),
        ({"password": "a\0b"}, "invalid_password"),
        ({"password": "x" * 10_000}, "invalid_password"),
        ({"host_name": "-x"}, "invalid_host_name"),
        ({"host_name": "a..b"}, "invalid_host_name"),
        ({"host_name": "<b>"}, "invalid_host_name"),
        ({"host_name": "x" * 300}, "invalid_host_name"),
        ({"ssh_keys": ("hello",)}, "invalid_ssh_keys"),
        ({"ssh_keys": (KEY + "\nssh-rsa AAAA",)}, "invalid_ssh_keys"),
        ({"ssh_keys": (KEY,) * 100}, "invalid_ssh_keys"),
        ({"data_path": "data"}, "invalid_data_path"),
        ({"data_path": "/a/../b"}, "invalid_data_path"),
        ({"data_path": "/a;b"}, "invalid_data_path"),
        ({"data_path": "/a\n"}, "invalid_data_path"),
        ({"address": "10.0.0.5"}, "invalid_address"),
        ({"address": "10.0.0.500/24"}, "invalid_address"),
        ({"gateway": "10.0.0.1"}, "invalid_gateway"),
        ({"address": "10.0.0.5/24", "gateway": "x"}, "invalid_gateway"),
        ({"dns": ("x",)}, "invalid_dns"),
        ({"dns": ("10.0.0.1",) * 100}, "invalid_dns"),
        ({"user_data": "hello"}, "invalid_user_data"),
        ({"user_data": "#!/bin/sh\0"}, "invalid_user_data"),
        ({"user_data": "#!/bin/sh\n" + "x" * 100_000}, "invalid_user_data"),
        ({"user_data": "#!/bin/sh\n\ud800"}, "invalid_user_data"),
        ({"user_data": "#!/bin/sh\n--==nano-seed-part==--\n"}, "invalid_user_data"),
        ({"sealed": "v1:AAAA"}, "invalid_sealed"),
    ],
)
def test_what_can_not_be_asked(told: dict[str, Any], code: str) -> None:
    with pytest.raises(NanoError) as refused:
        ci.check(ci.CloudInit(**told))
    assert refused.value.code == code
    assert refused.value.context["field"] == f"cloud_init.{code.removeprefix('invalid_')}"
    assert len(refused.value.message) < 200
    assert told.get("password", "-" * 9) not in refused.value.message


def test_the_templates_administrator_is_the_user_and_windows_has_none() -> None:
    bench = Bench()
    bench.do(StockTemplates())
    bench.do(create(template="General", cloud_init=ci.CloudInit()))
    guest = bench.zone.find_guest("web")
    assert guest.cloud_init == ci.CloudInit(user="root")
    assert guest.spec.seed
    with pytest.raises(NanoError) as refused:
        bench.do(create("win", template="Windows Server 2012", cloud_init=ci.CloudInit()))
    assert refused.value.code == "cloud_init_unsupported"


def test_a_secret_in_clear_is_never_decided_about() -> None:
    with pytest.raises(AssertionError):
        Bench().do(create(cloud_init=ci.CloudInit(password="x")))
