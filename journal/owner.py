"""Whose journal this is: ``owner`` beside the log names the journal (by the hash of its first line) and the node that keeps it.

    {"journal":"<64 hex>","key":"<fingerprint of the node's key>","signature":"<hex>"}      and a line that checks it

So a log that was put in the place of another is seen at the next start, though it is whole in itself: another first
line is another journal, another key is another node. An empty ``key`` (in restored and rebuilt folders) means that whoever
starts on it first keeps it. A log without this file, from an older version, is taken over unless its newest seal was
signed by another node. Nodes without a key (tests, tools) are not asked.

It repairs nothing, and says nothing about a log whose first line is damaged: reading it says more.
"""

from pathlib import Path
from typing import Final

import msgspec

from nano.domain.errors import JournalDamaged
from nano.journal.archive import SCAN_BYTES, read_text
from nano.journal.disk import Disk, replace_file
from nano.journal.horizon import read_horizon
from nano.journal.line import HASH_TAIL, NO_HASH, check_chain
from nano.journal.segments import Signer, damaged, list_segments, read_seal, seal_path
from nano.journal.small_files import UNREADABLE, checked, with_check

NAME: Final = "owner"
_HASH_BYTES: Final = 64


class Owner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    journal: str
    key: str = ""
    signature: str = ""

    def signed_bytes(self) -> bytes:
        return f"nano owner 1\n{self.journal}\n".encode()


def read_owner(disk: Disk, folder: Path) -> Owner | None:
    """Raises JournalDamaged for a file that is not what was written, OSError."""
    path = folder / NAME
    try:
        return msgspec.json.decode(checked(disk.read(path)), type=Owner)
    except FileNotFoundError:
        return None
    except (*UNREADABLE, ValueError) as error:
        raise damaged(path, 0, f"it names no owner ({error})") from error


def write_owner(disk: Disk, folder: Path, journal: str, signer: Signer | None) -> None:
    """Without a signer whoever starts first may keep it."""
    owner = Owner(journal)
    if signer is not None:
        owner = Owner(journal, signer.key_id, signer.sign(owner.signed_bytes()).hex())
    replace_file(disk, folder / NAME, with_check(msgspec.json.encode(owner)))


def journal_id(disk: Disk, commits: Path) -> str | None:
    """The hash of the first line; "" when there is none yet, None when it is damaged."""
    if (horizon := read_horizon(disk, commits)) is not None:
        return horizon.journal
    segments = list_segments(disk, commits)
    if not segments:
        return ""
    line = b""
    while b"\n" not in line and (data := read_text(disk, segments[0].path, len(line), SCAN_BYTES)):
        line += data
    text, newline, _ = line.partition(b"\n")
    if not newline and len(segments) == 1:
        return ""
    if segments[0].first != 1 or not check_chain(NO_HASH, [text])[1]:
        return None
    return text[-HASH_TAIL:][-_HASH_BYTES - 2 : -2].decode()


def check_owner(disk: Disk, folder: Path, key: str) -> Owner | None:
    """What ``owner`` says, when this node may write here. Raises JournalDamaged(journal_of_another_node), OSError."""
    owner, commits = read_owner(disk, folder), folder / "commits"
    journal = journal_id(disk, commits)
    if owner is not None:
        check_journal(folder, owner, journal)
        if owner.key and key and owner.key != key:
            raise _foreign(folder / NAME, f"it belongs to the node with the key {owner.key[:16]}…, not to this one")
    elif journal and key:
        for segment in reversed(list_segments(disk, commits)):
            seal = read_seal(disk, seal_path(segment.path))
            if seal is not None and seal.key not in ("", key):
                raise _foreign(seal_path(segment.path), f"it was signed by the node with the key {seal.key[:16]}…")
            if seal is not None:
                break
    return owner


def check_journal(folder: Path, owner: Owner, journal: str | None) -> None:
    """Whether the log beside ``owner`` is the one it names. Raises JournalDamaged(journal_of_another_node)."""
    first = folder / "commits" / f"{1:016d}.jsonl"
    if journal == "" and owner.journal:
        raise damaged(first, 0, f"it is gone or empty, and {folder / NAME} says that there was a journal")
    if journal is not None and journal != owner.journal:
        raise _foreign(first, f"its first line is not that of the journal which {folder / NAME} names")


def _foreign(path: Path, why: str) -> JournalDamaged:
    return JournalDamaged(
        f"The journal is that of another node: {path}, byte 0: {why}.",
        code="journal_of_another_node",
        hint="Nothing was changed. Put this node's own journal back (nano-replay restore), or, to go on with the other one, "
        "make a copy that any node may keep: nano-replay --node DIR rebuild INTO.",
        file=str(path),
        byte=0,
    )
