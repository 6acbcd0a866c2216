"""A Cell's settings: ``config/cell.toml``, made with these defaults and comments when it is absent."""

import ipaddress
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from nano.domain.errors import Invalid
from nano.domain.settings import METRICS_DEFAULTS, DomainSettings, MetricsSettings, parse_settings
from nano.journal.archive_schedule import ARCHIVE_DEFAULTS, ArchiveSettings
from nano.journal.backup_schedule import BACKUP_DEFAULTS, BackupSettings
from nano.journal.health import ALARM_DEFAULTS, AlarmSettings

VNC_PORTS_MAX: Final = 1000

DEFAULTS: Final = f"""\
# Settings of nano-cell. Changes take effect at its next start.

[domain]
# The same as on Core.
name = "nano"
group = "224.0.0.226"
port = 5599
# Where multicast does not reach: Core's hosts, as "address" or "address:port".
addresses = []

[cell]
# Empty: made from this node's key.
name = ""
# The address of this host that faces Core; discovery is sent there.
address = "127.0.0.1"

[hypervisor]
uri = "qemu:///system"
# auto believes KVM only after a guest really ran under it; or: kvm, qemu.
virt_type = "auto"
# Guests are plugged into this bridge; empty = they get no network card.
bridge = "br0"
# Which packet filter carries out security policies: auto tries libvirt's first; or: nwfilter, nftables.
packet_filter = "auto"
# Folder for disks; empty = data/volumes of this node. Cells may have one storage: the folder of an NFS export that each of
# them mounts. Guests then move from cell to cell while their disks stay where they are.
volumes = ""

[vnc]
# Where people's own VNC viewers reach the guests whose VNC access is enabled: one address of this host, empty = nowhere.
# What VNC sends is not encrypted: beyond 127.0.0.1 (to be reached by an SSH tunnel) choose a network that you trust.
address = "127.0.0.1"
# One port for each such guest.
first_port = 5901
last_port = 6000

{BACKUP_DEFAULTS}
{ALARM_DEFAULTS}
{ARCHIVE_DEFAULTS}
{METRICS_DEFAULTS}"""


class CellIdentitySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str = ""
    address: str = "127.0.0.1"


class HypervisorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    uri: str = "qemu:///system"
    virt_type: Literal["auto", "kvm", "qemu"] = "auto"
    bridge: str = "br0"
    packet_filter: Literal["auto", "nwfilter", "nftables"] = "auto"
    volumes: str = ""


Port = Annotated[int, msgspec.Meta(ge=1024, le=65535)]


class VncSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    address: str = "127.0.0.1"
    first_port: Port = 5901
    last_port: Port = 6000

    @property
    def ports(self) -> range:
        return range(self.first_port, self.last_port + 1)


class CellSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    domain: DomainSettings = DomainSettings()
    cell: CellIdentitySettings = CellIdentitySettings()
    hypervisor: HypervisorSettings = HypervisorSettings()
    vnc: VncSettings = VncSettings()
    archive: ArchiveSettings = ArchiveSettings()
    metrics: MetricsSettings = MetricsSettings()
    backup: BackupSettings = BackupSettings()
    alarms: AlarmSettings = AlarmSettings()


def load_settings(folder: Path) -> CellSettings:
    """The settings in ``folder`` (a node's config/). Raises Invalid(settings_invalid)."""
    path = folder / "cell.toml"
    if not path.exists():
        path.write_text(DEFAULTS)
    settings = parse_settings(path.read_text(), CellSettings, str(path))
    if why := _why_wrong(settings.vnc):
        raise Invalid(f"{path}: [vnc] {why}.", code="settings_invalid", hint="Correct the file.")
    return settings


def _why_wrong(vnc: VncSettings) -> str:
    """Everywhere is no address: people are told where to connect, and nobody is let in where nobody thought of."""
    if not 0 < len(vnc.ports) <= VNC_PORTS_MAX:
        return f"first_port to last_port must be 1 to {VNC_PORTS_MAX} ports"
    if not vnc.address:
        return ""
    try:
        address = ipaddress.ip_address(vnc.address)
    except ValueError:
        return f"address {vnc.address[:40]!r} is not an IP address"
    return f"address {address} is not one address" if address.is_unspecified or address.is_multicast else ""
