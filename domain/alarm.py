"""Alarms: what is wrong with a node or the zone right now, since when, and what to do about it.

An alarm follows from a condition that can be looked at (a disk that refuses, a silent cell), so it is derived anew from
the condition and never journaled: the worst of them is a journal that takes nothing. It is raised when the condition
begins, keeps its ``since``, and is gone when the condition is. ``KINDS`` is every alarm there is.

It does not look at anything itself: ``journal.health`` does, and Core for what it knows of its cells.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, Literal, NamedTuple

import msgspec

Severity = Literal["critical", "warning"]


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """``id`` is the same as long as the condition lasts. ``node`` says who found it, ``resource`` what it is about,
    ``place`` which part of that (a folder of files; often empty)."""

    id: str
    code: str
    severity: Severity
    node: str
    resource: str
    place: str
    since: datetime
    message: str
    hint: str


class Finding(NamedTuple):
    """A condition that holds now. ``code`` is one of KINDS; an empty ``resource`` means the node that found it."""

    code: str
    message: str
    resource: str = ""
    place: str = ""


class Kind(NamedTuple):
    severity: Severity
    hint: str


KINDS: Final[Mapping[str, Kind]] = {
    "disk_full": Kind("critical", "Free space on this file system; the node goes on by itself."),
    "journal_read_only": Kind(
        "critical",
        "Look at the kernel's messages, repair the file system and mount it for writing; the node goes on by itself.",
    ),
    "journal_write_failed": Kind(
        "critical", "Check the disk and the permissions of the folder; the node goes on by itself once it can write."
    ),
    "journal_poisoned": Kind(
        "critical", "Check the disk and its kernel messages, then restart the node: it reads back what the disk kept."
    ),
    "resource_journals_behind": Kind(
        "warning", "Nothing is lost: they are derived from the commit log. Check the disk; they catch up by themselves."
    ),
    "snapshot_failed": Kind(
        "warning", "Nothing is lost: the next start takes longer. Check room and permissions of data/journal/snapshots."
    ),
    "archive_failed": Kind(
        "warning",
        "Nothing is lost: old segments take more room. Check the disk; if one is damaged, run nano-replay verify.",
    ),
    "backup_failed": Kind("critical", "Check the folder of the backups; it is tried again at the next time."),
    "backup_overdue": Kind("critical", "Does the folder of the backups answer? A mount that hangs looks like this."),
    "clock_behind": Kind(
        "warning", "Set the clock (is NTP running?). Until it has caught up, new facts get the time of the last one."
    ),
    "disk_low": Kind("warning", "Free space on this file system, or make it larger, before it is full."),
    "disk_nearly_full": Kind("critical", "Free space on this file system now."),
    "hypervisor_unreachable": Kind(
        "critical", "Look at libvirtd on this host. Its guests may go on; what they do is not seen meanwhile."
    ),
    "cell_offline": Kind("critical", "Look at the server, its network and nano-cell on it; it comes back by itself."),
    "cell_fault": Kind("critical", "Look at this cell's history and at its log."),
    "cell_debts": Kind("warning", "It gets no new guests before it has removed them; it is told again and again."),
}


def alarm_id(code: str, resource: str, place: str = "") -> str:
    return ":".join(filter(None, (code, resource.partition("/")[2], place)))


def alarms_of(
    node: str, resource: str, findings: Iterable[Finding], before: Mapping[str, Alarm], at: datetime
) -> dict[str, Alarm]:
    """The alarms of what holds at an instant, by id; those that were there ``before`` keep their ``since``."""
    found: dict[str, Alarm] = {}
    for finding in findings:
        about = finding.resource or resource
        key = alarm_id(finding.code, about, finding.place)
        kind = KINDS[finding.code]
        found[key] = Alarm(
            id=key,
            code=finding.code,
            severity=kind.severity,
            node=node,
            resource=about,
            place=finding.place,
            since=before[key].since if key in before else at,
            message=finding.message,
            hint=kind.hint,
        )
    return found
