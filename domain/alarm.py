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
    ``place`` which part of that (a folder of files; often empty). ``message`` is the kind's, with ``place`` and
    ``details`` filled in."""

    id: str
    code: str
    severity: Severity
    node: str
    resource: str
    place: str
    since: datetime
    message: str
    hint: str
    details: dict[str, str]


class Finding(NamedTuple):
    """A condition that holds now. ``code`` is one of KINDS; an empty ``resource`` means the node that found it."""

    code: str
    details: dict[str, str]
    resource: str = ""
    place: str = ""


class Kind(NamedTuple):
    """What its alarms say: what happened and why (``message``), and what to do (``hint``)."""

    severity: Severity
    message: str
    hint: str


KINDS: Final[Mapping[str, Kind]] = {
    "disk_full": Kind(
        "critical",
        "There is no room to write the journal in %(folder)s.",
        "Free space on this file system; the node goes on by itself.",
    ),
    "journal_read_only": Kind(
        "critical",
        "The journal in %(folder)s is on a file system that is mounted read-only.",
        "Look at the kernel's messages, repair the file system and mount it for writing; the node goes on by itself.",
    ),
    "journal_write_failed": Kind(
        "critical",
        "The journal in %(folder)s can't be written: %(reason)s",
        "Check the disk and the permissions of the folder; the node goes on by itself once it can write.",
    ),
    "journal_poisoned": Kind(
        "critical",
        "The journal in %(folder)s takes nothing more until the node is restarted: %(reason)s",
        "Check the disk and its kernel messages, then restart the node: it reads back what the disk kept.",
    ),
    "resource_journals_behind": Kind(
        "warning",
        "Resource journals do not keep up with the journal: %(reason)s",
        "Nothing is lost: they are derived from the commit log. Check the disk; they catch up by themselves.",
    ),
    "snapshot_failed": Kind(
        "warning",
        "No snapshot of the journal can be written: %(reason)s",
        "Nothing is lost: the next start takes longer. Check room and permissions of data/journal/snapshots.",
    ),
    "archive_failed": Kind(
        "warning",
        "Old segments of the journal can't be compressed: %(reason)s",
        "Nothing is lost: they take more room. Check the disk; whether a segment is damaged says nano-replay verify.",
    ),
    "backup_failed": Kind(
        "critical",
        "No backup can be made in %(folder)s: %(reason)s",
        "Check the folder of the backups; it is tried again at the next time.",
    ),
    "backup_overdue": Kind(
        "critical",
        "A backup to %(folder)s is overdue. The last one was made: %(last)s.",
        "Does the folder of the backups answer? A mount that hangs looks like this.",
    ),
    "clock_behind": Kind(
        "warning",
        "The clock went back: it was %(behind)s behind the last fact, of %(last)s.",
        "Set the clock (is NTP running?). Until it has caught up, new facts get the time of the last one.",
    ),
    "disk_low": Kind(
        "warning",
        "The file system of %(folder)s (%(place)s) has %(free)s left, %(percent)s %%.",
        "Free space on this file system, or make it larger, before it is full.",
    ),
    "disk_nearly_full": Kind(
        "critical",
        "The file system of %(folder)s (%(place)s) has only %(free)s left, %(percent)s %%.",
        "Free space on this file system now.",
    ),
    "hypervisor_unreachable": Kind(
        "critical",
        "The hypervisor of %(cell)s does not answer: %(reason)s",
        "Look at libvirtd on this host. Its guests may go on; what they do is not seen meanwhile.",
    ),
    "cell_offline": Kind(
        "critical",
        "Cell %(cell)s has not answered since %(since)s.",
        "Look at the server, its network and nano-cell on it; the cell comes back by itself.",
    ),
    "cell_fault": Kind(
        "critical",
        "Cell %(cell)s: %(reason)s",
        "It is not the journal that Core has read: restore this cell's newest backup, or Core to the same moment.",
    ),
    "drift": Kind(
        "warning",
        "Guests on cell %(cell)s are not as the journals say: %(count)s.",
        "nanoctl drift, or the page Drift under Cells, says what differs and mends what is safe.",
    ),
    "orphans": Kind(
        "warning",
        "On cell %(cell)s there are domains or files that nobody owns: %(count)s.",
        "nanoctl orphans, or the page Drift under Cells, lists them and removes them one by one.",
    ),
    "snapshots_failing": Kind(
        "warning",
        "The last %(count)s snapshots of guest %(guest)s that were due by its schedule failed: %(reason)s",
        "The guest's tasks say what happened. Mend that, or take its schedule off; the next one that succeeds ends the alarm.",
    ),
    "cell_debts": Kind(
        "warning",
        "Cell %(cell)s may still have parts of guests whose creation was given up: %(count)s.",
        "It gets no new guests before it has removed them; it is told again and again.",
    ),
}


def moment(at: datetime) -> str:
    """As the messages tell it; ``at`` is in UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


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
            message=kind.message % {"place": finding.place, **finding.details},
            hint=kind.hint,
            details=finding.details,
        )
    return found
