"""FrontEnd's settings: ``config/frontend.toml``, made with comments and sound defaults when absent.

Unknown names and wrong types are refused with the file's name: a misspelt setting must not be silently ignored.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from nano.domain.settings import METRICS_DEFAULTS, DomainSettings, MetricsSettings, parse_settings
from nano.journal.archive_schedule import KEEP_DEFAULTS, KeepSettings
from nano.journal.backup_schedule import BACKUP_DEFAULTS, BackupSettings
from nano.journal.health import ALARM_DEFAULTS, AlarmSettings

DEFAULTS: Final = f"""\
# Nano FrontEnd: the portal. Restart nano-frontend after a change.

[domain]
name = "nano"            # nodes only speak to nodes of the same domain
group = "224.0.0.226"    # multicast group in which nodes find each other
port = 5599              # its UDP port
addresses = []           # "host:port" of Core, for networks without multicast

[listen]
host = "127.0.0.1"       # 0.0.0.0 = every interface: put HTTPS in front of it then
port = 5870
https = false            # true when a proxy in front speaks HTTPS: cookies are then sent over HTTPS only

[core]
api = ""                 # "http://127.0.0.1:5850"; empty = found through the domain
key_id = "frontend"      # which of Core's credentials signs the requests
key_file = ""            # file that holds them; empty = ../core/config/credentials.toml of the same state folder

[session]
idle_minutes = 30        # log out after so long without use
absolute_hours = 12      # and after so long in any case

[login]
failures_per_account = 10   # wrong passwords until an account must wait
failures_per_address = 30   # wrong passwords until an address must wait
window_minutes = 5          # how long that wait, and the counting, lasts

{BACKUP_DEFAULTS}
{ALARM_DEFAULTS}
{KEEP_DEFAULTS}
{METRICS_DEFAULTS}"""


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: int = 5870
    https: bool = False


class CoreAccess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    api: str = ""
    key_id: str = "frontend"
    key_file: str = ""


class SessionLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    idle_minutes: float = 30
    absolute_hours: float = 12


class LoginLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    failures_per_account: int = 10
    failures_per_address: int = 30
    window_minutes: float = 5


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    domain: DomainSettings = DomainSettings()
    listen: Listen = Listen()
    core: CoreAccess = CoreAccess()
    session: SessionLimits = SessionLimits()
    login: LoginLimits = LoginLimits()
    backup: BackupSettings = BackupSettings()
    alarms: AlarmSettings = AlarmSettings()
    archive: KeepSettings = KeepSettings()
    metrics: MetricsSettings = MetricsSettings()


def load_settings(folder: Path) -> Settings:
    """Settings of the node whose folder this is. Raises Invalid(settings_invalid), which names the file."""
    path = folder / "config" / "frontend.toml"
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(DEFAULTS)
        os.replace(fresh, path)
    return parse_settings(path.read_text(), Settings, str(path))
