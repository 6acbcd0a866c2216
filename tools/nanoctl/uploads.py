"""``image upload``, ``media upload`` and ``download``: files to Core and back, in pieces, with a bar.

A file is sent in pieces, each in a request of its own. When the connection breaks, or Core restarts, what Core has is asked
for and the rest is sent; the same words typed again later go on in the same way, and so does a download. The digest of the
file is taken while it is sent and told at the end, signed: it is what makes the bytes trustworthy.
"""

import argparse
import hashlib
import os
import time
from pathlib import Path
from typing import BinaryIO, Final

from nano.domain.catalogue import COLLECTIONS, CommandEntry
from nano.domain.errors import Failure, Invalid, Unknown, Unreachable
from nano.domain.image_commands import UploadImage
from nano.tools.display.progress import Moved, bar
from nano.tools.nanoctl.arguments import fields_in
from nano.tools.nanoctl.commands import after_work, print_dry_run, send
from nano.tools.nanoctl.exits import OK, ApiProblem
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import BASE, Row, Session, path_of

PIECE_BYTES: Final = 64 << 20
BLOCK_BYTES: Final = 1 << 20
TRIES_MAX: Final = 30  # in a row without a byte
PAUSE_S: Final = 1.0
QCOW2: Final = b"QFI\xfb"


class FileDigest:
    """SHA-256 of a file whose bytes come by in order, some of them more than once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._at = 0

    def pass_by(self, at: int, data: bytes) -> None:
        if at > self._at:
            self.catch_up(at)
        fresh = data[self._at - at :]
        self._digest.update(fresh)
        self._at += len(fresh)

    def catch_up(self, end: int) -> None:
        """Read what did not come by."""
        self._file.seek(self._at)
        while self._at < end and (data := self._file.read(min(BLOCK_BYTES, end - self._at))):
            self._digest.update(data)
            self._at += len(data)

    def hex(self) -> str:
        return self._digest.hexdigest()


class Piece:
    """A part of a file, as something that is read for a request's body."""

    def __init__(self, file: BinaryIO, at: int, length: int, digest: FileDigest, tell: Moved) -> None:
        self._file = file
        self._at = at
        self._end = at + length
        self._digest = digest
        self._tell = tell
        self.length = length

    def read(self, _count: int = -1) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(min(BLOCK_BYTES, self._end - self._at))
        self._digest.pass_by(self._at, data)
        self._at += len(data)
        self._tell("upload", self._at, 0)
        return data


def upload(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    path = Path(namespace.file)
    try:
        file = path.open("rb")
    except OSError as error:
        raise Invalid(f"{path} can't be read: {error.strerror}.", code="invalid_file", hint="Name a file.") from error
    with file:
        return _upload(session, verb, namespace, file)


def _upload(session: Session, verb: Verb, namespace: argparse.Namespace, file: BinaryIO) -> int:
    entry = verb.entry
    assert isinstance(entry, CommandEntry)
    size = file.seek(0, os.SEEK_END)
    fields: Row = {**fields_in(namespace, verb.arguments), "size": size}
    if entry.command is UploadImage and "format" not in fields:
        file.seek(0)
        fields["format"] = "qcow2" if file.read(len(QCOW2)) == QCOW2 else "raw"
    dry = getattr(namespace, "dry_run", False)
    answer = (None if dry else _begun(session, entry, fields)) or send(session, entry, fields, namespace)
    if dry:
        print_dry_run(session, answer)
        return OK
    place = f"{BASE}/{COLLECTIONS[entry.target]}/{answer['resource'].partition('/')[2]}"
    digest = FileDigest(file)
    with bar(session.terminal) as moved:
        _send(session, place, file, size, digest, lambda part, done, _: moved(f"{part} {fields['name']}", done, size))
    digest.catch_up(size)
    session.api.call("POST", f"{place}/finish", body={"sha256": digest.hex()})
    return after_work(session, answer, namespace)


def _begun(session: Session, entry: CommandEntry, fields: Row) -> Row | None:
    """An upload of this name and size that was begun before and waits for its rest."""
    kind = entry.target
    try:
        row: Row = session.get(path_of(f"/{COLLECTIONS[kind]}/{{name}}", fields))
    except ApiProblem as problem:
        if problem.answered != Unknown.status:
            raise
        return None
    if not row["task"] or row["wanted"] != fields["size"]:
        return None
    return {"resource": f"{kind}/{row['id']}", "task": session.get(f"/tasks/{row['task']}"), "position": None}


def _send(session: Session, place: str, file: BinaryIO, size: int, digest: FileDigest, tell: Moved) -> None:
    """All that Core does not have yet. Raises Unreachable when it stays away, ApiProblem."""
    tries, most = 0, -1
    while True:
        try:
            received: int = session.api.call("GET", f"{place}/received").value["received"]
            tries, most = (0, received) if received > most else (tries + 1, most)
            while received < size:
                piece = Piece(file, received, min(PIECE_BYTES, size - received), digest, tell)
                query = {"offset": received}
                answer = session.api.put(f"{place}/content", query=query, body=piece, length=piece.length)
                received = answer.value["received"]
            return
        except (Unreachable, ApiProblem) as problem:
            again = isinstance(problem, Unreachable) or problem.code in ("upload_offset", "upload_busy")
            tries += 1
            if not again or tries > TRIES_MAX:
                raise
            session.api.close()
            time.sleep(PAUSE_S)


def download(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    """The image as a file that was not there before; a broken download goes on where it ended."""
    kind = verb.kind
    row: Row = session.get(path_of(f"/{COLLECTIONS[kind]}/{{{kind}}}", {kind: getattr(namespace, kind)}))
    target = Path(namespace.file)
    if target.exists():
        raise Invalid(f"{target} is there already.", code="file_exists", hint="Name another file, or remove it.")
    part = target.with_name(target.name + ".part")
    try:
        with part.open("a+b") as file:
            digest = _fetch(session, f"{BASE}/{COLLECTIONS[kind]}/{row['id']}/content", row, file)
            if digest != row["sha256"]:
                part.unlink()
                raise Failure(
                    "What arrived has not the digest of the image.", code="image_damaged", hint="Download it again."
                )
            os.fsync(file.fileno())
        part.rename(target)
    except OSError as error:
        raise Failure(f"{target} can't be written: {error.strerror}.", code="file_unwritable") from error
    if session.for_people:
        session.terminal.write(f"{row['name']} is in {target}: {row['size']} bytes, its digest is right.")
    else:
        session.print_data({"file": str(target), "size": row["size"], "sha256": row["sha256"]})
    return OK


def _fetch(session: Session, path: str, row: Row, file: BinaryIO) -> str:
    size: int = row["size"]
    digest = FileDigest(file)
    done = file.seek(0, os.SEEK_END)
    if done > size:
        done = file.truncate(0)
    tries = 0
    with bar(session.terminal) as moved:
        while done < size:
            before = done
            try:
                for data in session.api.stream(path, start=done):
                    file.write(data)
                    done += len(data)
                    moved(f"download {row['name']}", done, size)
            except Unreachable:
                tries = 0 if done > before else tries + 1
                if tries > TRIES_MAX:
                    raise
                time.sleep(PAUSE_S)
    file.flush()
    digest.catch_up(size)
    return digest.hex()
