"""Cloud-init: what a guest's own system is told at its first start, as the files of a NoCloud seed (features M22, M34).

People ask with ``CloudInit``. Its secrets (``password``, ``user_data``) never get as far as a decision: Core's door checks them,
hashes the password and puts both into ``sealed``, which only Core's key opens again. So what is journaled, and what tasks
carry, has no secret in clear. Nothing here is particular to one distribution: devices by name, no volume groups.
Source of the keys: cloud-init's module reference; NoCloud wants meta-data, user-data and network-config.
"""

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from nano.domain.errors import Invalid
from nano.domain.machine import MachineSpec
from nano.domain.naming import require_text

PASSWORD_MAX: Final = 128
KEYS_MAX: Final = 32
KEY_LENGTH_MAX: Final = 16_384
USER_DATA_MAX: Final = 64 << 10
SERVERS_MAX: Final = 8
CARD: Final = "eth0"
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_HOST_NAME: Final = re.compile(
    r"[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?(?:\.[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?)*"
)
_KEY: Final = re.compile(
    r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp\d{3}|sk-[a-z0-9@.-]+) [0-9A-Za-z+/]{16,}={0,3}( [^\n\r]*)?"
)
_FOLDER: Final = re.compile(r"(/[0-9A-Za-z_.-]+)+")
_BOUNDARY: Final = "==nano-seed-part=="


class CloudInit(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """``user`` empty = the template's administrator; ``host_name`` empty = the guest's name. ``address`` with its prefix
    length, empty = DHCP. The first data disk is mounted at ``data_path``, further ones beside it with a number."""

    user: str = ""
    password: str = ""
    ssh_keys: tuple[str, ...] = ()
    host_name: str = ""
    address: str = ""
    gateway: str = ""
    dns: tuple[str, ...] = ()
    data_path: str = "/opt/data"
    user_data: str = ""
    sealed: str = ""


class Secrets(msgspec.Struct, frozen=True):
    """What ``sealed`` holds."""

    passwd: str = ""  # as in /etc/shadow: $6$…
    user_data: str = ""


def check(told: CloudInit) -> None:
    """All of what somebody asks for. Raises Invalid, which names the field and never shows a secret."""
    if told.sealed:
        raise _invalid("sealed", "sealed is made by Core.", "Give password and user_data themselves.")
    if len(told.password) > PASSWORD_MAX or any(ord(letter) < 32 or ord(letter) == 127 for letter in told.password):
        raise _invalid("password", "The password can't be used.", f"Use up to {PASSWORD_MAX} letters of one line.")
    check_user_data(told.user_data)
    check_public(told)


def check_public(told: CloudInit) -> None:
    """What is not secret."""
    if told.user and not _USER.fullmatch(told.user):
        raise _invalid("user", f"{told.user[:40]!r} is no user name.", "Use a-z, 0-9, '_' and '-', a letter first.")
    if told.host_name and (len(told.host_name) > 253 or not _HOST_NAME.fullmatch(told.host_name)):
        raise _invalid("host_name", f"{told.host_name[:40]!r} is no host name.", "Use letters, digits, '-' and '.'.")
    if len(told.ssh_keys) > KEYS_MAX:
        raise _invalid("ssh_keys", f"There are {len(told.ssh_keys)} SSH keys.", f"Use {KEYS_MAX} at most.")
    for key in told.ssh_keys:
        if len(key) > KEY_LENGTH_MAX or not _KEY.fullmatch(key):
            raise _invalid("ssh_keys", f"{key[:24]!r}… is no public SSH key.", "Give the line of a .pub file.")
        require_text(key, "cloud_init.ssh_keys", KEY_LENGTH_MAX)
    path = told.data_path
    if len(path) > 200 or not _FOLDER.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
        raise _invalid("data_path", f"{path[:40]!r} is no folder for data disks.", "Use a path such as /opt/data.")
    _check_network(told)


def check_user_data(text: str) -> None:
    if not text:
        return
    if len(text.encode("utf-8", "replace")) > USER_DATA_MAX:
        raise _invalid("user_data", "user_data is too long.", f"Use {USER_DATA_MAX} bytes at most.")
    first = text.partition("\n")[0]
    if first.rstrip() != "#cloud-config" and not first.startswith("#!"):
        raise _invalid(
            "user_data",
            "user_data is neither cloud-config nor a script.",
            "Begin with #cloud-config, or #! and a program.",
        )
    if any((ord(letter) < 32 and letter not in "\n\r\t") or letter == "\x7f" for letter in text) or _BOUNDARY in text:
        raise _invalid("user_data", "user_data has a control character.", "Send plain text.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _invalid("user_data", "user_data is not UTF-8.", "Send plain text.") from None


def _check_network(told: CloudInit) -> None:
    if not told.address:
        if told.gateway:
            raise _invalid("gateway", "A gateway without an address.", "Give the address too, or neither for DHCP.")
    else:
        try:
            network = ipaddress.ip_interface(told.address)
        except ValueError:
            network = None
        if network is None or "/" not in told.address or network.network.prefixlen == 0:
            raise _invalid("address", f"{told.address[:48]!r} is no address.", "Use address/length: 10.0.0.5/24.")
    addresses = {"gateway": (told.gateway,) if told.gateway else (), "dns": told.dns}
    if len(told.dns) > SERVERS_MAX:
        raise _invalid("dns", f"There are {len(told.dns)} name servers.", f"Use {SERVERS_MAX} at most.")
    for field, values in addresses.items():
        for value in values:
            try:
                ipaddress.ip_address(value)
            except ValueError:
                raise _invalid(field, f"{value[:48]!r} is no address.", "Use one such as 10.0.0.1.") from None


def _invalid(field: str, message: str, hint: str) -> Invalid:
    return Invalid(message, code=f"invalid_{field}", hint=hint, field=f"cloud_init.{field}")


def seed_files(guest_id: str, spec: MachineSpec, told: CloudInit, secrets: Secrets) -> dict[str, str]:
    """The texts of the seed, by file name."""
    name = told.host_name or spec.name.replace("_", "-").strip("-") or guest_id[:8]
    config = "#cloud-config\n" + _yaml(_config(name, spec, told, secrets))
    return {
        "meta-data": _yaml({"instance-id": guest_id, "local-hostname": name}),
        "network-config": _yaml(_network(spec, told)),
        "user-data": _multipart(config, secrets.user_data) if secrets.user_data else config,
    }


def _config(name: str, spec: MachineSpec, told: CloudInit, secrets: Secrets) -> dict[str, Any]:
    user: dict[str, Any] = {"name": told.user or "root"}
    if user["name"] != "root":
        user |= {"shell": "/bin/bash", "sudo": "ALL=(ALL) NOPASSWD:ALL"}
    if secrets.passwd:  # "passwd" is for a new user, "hashed_passwd" also for one that the image has
        user |= {"lock_passwd": False, "passwd": secrets.passwd, "hashed_passwd": secrets.passwd}
    if told.ssh_keys:
        user["ssh_authorized_keys"] = list(told.ssh_keys)
    config: dict[str, Any] = {
        "hostname": name,
        "ssh_pwauth": bool(secrets.passwd),
        "disable_root": user["name"] != "root",
        "users": [user],
        "growpart": {"mode": "auto", "devices": ["/"]},
        "resize_rootfs": True,
    }
    disks = list(_data_disks(spec, told.data_path))
    if disks:
        config["fs_setup"] = [
            {"device": device, "filesystem": "ext4", "label": f"data{n}", "partition": "none", "overwrite": False}
            for n, (device, _) in enumerate(disks, start=1)
        ]
        config["mounts"] = [[device, folder, "ext4", "defaults,nofail", "0", "2"] for device, folder in disks]
    return config


def _data_disks(spec: MachineSpec, path: str) -> Iterable[tuple[str, str]]:
    """Device in the guest, and the folder it is mounted at. IDE and SATA disks are sd… to every kernel of today."""
    prefix = "vd" if spec.hardware.disk == "virtio" else "sd"
    for number in range(1, len(spec.disks)):
        yield f"/dev/{prefix}{chr(ord('a') + number)}", path if number == 1 else f"{path}{number}"


def _network(spec: MachineSpec, told: CloudInit) -> dict[str, Any]:
    # Named anew, as some systems' renderers know a card by its name alone.
    card: dict[str, Any] = {"match": {"macaddress": spec.mac}, "set-name": CARD}
    if told.address:
        card |= {"addresses": [told.address]}
        if told.gateway:
            version = ipaddress.ip_address(told.gateway).version
            card[f"gateway{version}"] = told.gateway
    else:
        card["dhcp4"] = True
    if told.dns:
        card["nameservers"] = {"addresses": list(told.dns)}
    return {"version": 2, "ethernets": {CARD: card}}


def _multipart(config: str, extra: str) -> str:
    """Both, Nano's first, so that what people add has the last word."""
    kind = "text/x-shellscript" if extra.startswith("#!") else "text/cloud-config"
    parts = "".join(
        f'--{_BOUNDARY}\nContent-Type: {kind}; charset="utf-8"\nMIME-Version: 1.0\n\n{text}\n'
        for kind, text in (("text/cloud-config", config), (kind, extra))
    )
    return f'Content-Type: multipart/mixed; boundary="{_BOUNDARY}"\nMIME-Version: 1.0\n\n{parts}--{_BOUNDARY}--\n'


def _yaml(value: Mapping[str, Any], indent: str = "") -> str:
    """Block YAML whose scalars are JSON, so that no value can be anything but itself."""
    lines = []
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            lines.append(f"{indent}{key}:\n{_yaml(inner, indent + '  ')}")
        elif isinstance(inner, list):
            lines.append(f"{indent}{key}:\n" + "".join(_item(item, indent + "  ") for item in inner))
        else:
            lines.append(f"{indent}{key}: {_scalar(inner)}\n")
    return "".join(lines)


def _item(item: Any, indent: str) -> str:
    if isinstance(item, Mapping):
        return f"{indent}- " + _yaml(item, indent + "  ").removeprefix(indent + "  ")
    if isinstance(item, list):
        return f"{indent}- [{', '.join(map(_scalar, item))}]\n"
    return f"{indent}- {_scalar(item)}\n"


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
