"""Core's settings: ``config/core.toml``, made with these defaults and comments when it is absent."""

from pathlib import Path
from typing import Annotated, Final

import msgspec

from nano.domain.guest_bin import HOURS_MAX
from nano.domain.limits import LIMITS, Limits
from nano.domain.settings import METRICS_DEFAULTS, DomainSettings, MetricsSettings, parse_settings
from nano.journal.archive_schedule import KEEP_DEFAULTS, KeepSettings
from nano.journal.backup_schedule import BACKUP_DEFAULTS, BackupSettings
from nano.journal.engines.settings import JOURNAL_DEFAULTS, EngineSettings
from nano.journal.health import ALARM_DEFAULTS, AlarmSettings

DEFAULTS: Final = f"""\
# Settings of nano-core. Changes take effect at its next start.

[domain]
# Nodes of one domain find each other by multicast; two domains on one network do not mix.
name = "nano"
group = "224.0.0.226"
port = 5599
# Where multicast does not reach: hosts to ask directly, as "address" or "address:port".
addresses = []

[listen]
# Loopback only, until you say otherwise. Use an address the cells can reach.
host = "127.0.0.1"
api_port = 5850
# Cells fetch images here over HTTPS; 0 = the first free port in 5801-5849.
image_port = 0
# Links of cells (QUIC, UDP); 0 = the first free port in 5600-5799.
link_port = 0

[images]
# Files that are put into this folder become images by "nanoctl image sync"; empty = data/intake of this node.
intake = ""

[placement]
# No new guest on a cell whose cores are busier than this, in percent; 100 = never refuse for that.
cpu_percent_busy = 80.0
# Most guests on one cell.
guests_per_cell = 100
# Cores, memory and disk may be promised this many times over.
overcommit = 3

[recycle_bin]
# How long a guest rests in the recycle bin before it is deleted, where nobody says another time. 168 is a week.
hours = 168

[repair]
# How often a guest is put back that drifted from the journal in nothing but name, priority, limits or autostart; 0 = never.
# Everything else waits for you: nanoctl drift.
every_minutes = 10.0

{BACKUP_DEFAULTS}
{ALARM_DEFAULTS}
{JOURNAL_DEFAULTS}
{KEEP_DEFAULTS}
{METRICS_DEFAULTS}"""


class ListenSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    host: str = "127.0.0.1"
    api_port: int = 5850
    image_port: int = 0
    link_port: int = 0


class ImageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    intake: str = ""


class PlacementSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    cpu_percent_busy: Annotated[float, msgspec.Meta(ge=0, le=100)] = LIMITS.cpu_percent_busy
    guests_per_cell: Annotated[int, msgspec.Meta(ge=1)] = LIMITS.guests_per_cell
    overcommit: Annotated[int, msgspec.Meta(ge=1)] = LIMITS.overcommit


class BinSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    hours: Annotated[int, msgspec.Meta(ge=1, le=HOURS_MAX)] = LIMITS.recycle_hours


class RepairSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    every_minutes: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 10.0


class CoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    domain: DomainSettings = DomainSettings()
    listen: ListenSettings = ListenSettings()
    images: ImageSettings = ImageSettings()
    placement: PlacementSettings = PlacementSettings()
    recycle_bin: BinSettings = BinSettings()
    repair: RepairSettings = RepairSettings()
    backup: BackupSettings = BackupSettings()
    archive: KeepSettings = KeepSettings()
    metrics: MetricsSettings = MetricsSettings()
    alarms: AlarmSettings = AlarmSettings()
    journal: EngineSettings = EngineSettings()

    def limits(self) -> Limits:
        placement = msgspec.structs.asdict(self.placement)
        return msgspec.structs.replace(LIMITS, **placement, recycle_hours=self.recycle_bin.hours)


def load_settings(folder: Path) -> CoreSettings:
    """The settings in ``folder`` (a node's config/). Raises Invalid(settings_invalid)."""
    path = folder / "core.toml"
    if not path.exists():
        path.write_text(DEFAULTS)
    return parse_settings(path.read_text(), CoreSettings, str(path))
