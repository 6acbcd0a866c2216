"""The incident bundle: one file with a node's journal, or a slice of it, that replays elsewhere with the same code.

    manifest.json               what this is: node, positions, heads of the chain, schema, size and SHA-256 of each file
    node.json                   the node's card
    commits/<position>.jsonl    the commit log's lines
    commits/<position>.seal     seals of whole segments, and node.crt to check them; not in a redacted bundle
    start.json                  only of a slice: what was true before its first line

The container is ZIP with deflate: it has a directory with sizes and places (so a lie is found before anything is unpacked,
and named by byte), every system opens it without further tools, and the standard library reads and writes it in streams.
tar.zst has neither and is 6 % smaller (docs/decisions/0024).

Invariant: what is opened has been checked whole: only names of this list, sizes as the manifest and the directory say,
digests, the chain from its beginning to the manifest's head, a node kind that fits the facts. Until then nothing is kept.
"""

import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from shutil import disk_usage
from typing import Final

import msgspec

from nano.domain.errors import DiskFull, JournalDamaged, Unknown
from nano.journal.small_files import UNREADABLE
from nano.tools.replay.node import KINDS, TELLING, Node, is_resource
from nano.transports.node_files import NodeCard

FORMAT: Final = "nano-bundle"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
PLACES: Final = {  # the only names there may be, and where each belongs in a node's folder
    re.compile(r"node\.json"): "data/",
    re.compile(r"node\.crt"): "config/",
    re.compile(r"start\.json"): "data/journal/",
    re.compile(r"commits/\d{16}\.(?:jsonl|seal)"): "data/journal/",
}
FILES_MAX: Final = 100_000
BYTES_MAX: Final = 64 << 30
SMALL_BYTES_MAX: Final = 32 << 20  # of the manifest
COPY_BYTES: Final = 1 << 20


class BundledFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``head`` is the hash of the last line here; ``original_head`` that of the same line in the node's own journal, which
    differs when the bundle is redacted, because then the chain was made again. ``first`` and ``last`` are positions."""

    format: str
    version: int
    made_at: str
    made_by: str
    node: NodeCard
    schema: str
    first: int
    last: int
    transactions: int
    head: str
    original_head: str
    redacted: bool
    note: str = ""
    files: list[BundledFile]


class _Version(msgspec.Struct):
    format: str
    version: int


@contextmanager
def opened(path: Path) -> Iterator[Node]:
    """The bundle's node, in a private folder that is gone afterwards. Raises Unknown, JournalDamaged, DiskFull."""
    if not path.is_file():
        raise Unknown(f"There is no bundle {path}.", code="no_bundle", hint="Name a file made by nano-replay export.")
    with tempfile.TemporaryDirectory(prefix="nano-replay-") as root:
        opening = _Opening(path)
        manifest = opening.unpack(Path(root))
        yield opening.check(manifest, Path(root) / manifest.node.kind)


class _Opening:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, int] = {}  # where each file begins in the bundle

    def unpack(self, root: Path) -> Manifest:
        name = MANIFEST
        try:
            with zipfile.ZipFile(self._path) as archive:
                infos = self._directory(archive)
                manifest = self._manifest(archive, infos)
                total = sum(info.file_size for info in infos.values())
                if total > disk_usage(root).free:
                    raise DiskFull(
                        f"The bundle needs {total} bytes in {root.parent}.", hint="Set TMPDIR to another disk."
                    )
                for file in manifest.files:
                    name = file.name
                    self._unpack_one(archive, infos[name], file, root / manifest.node.kind)
        except zipfile.BadZipFile as error:
            raise self.lie(name if name in self._places else "", f"it is no whole ZIP file ({error})") from error
        except (zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, UnicodeDecodeError) as error:
            raise self.lie(name, f"it can't be unpacked ({error})") from error
        return manifest

    def _directory(self, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        """Its files by name, none of which has a name or a size that a bundle has not."""
        infos = archive.infolist()
        if len(infos) > FILES_MAX or sum(info.file_size for info in infos) > BYTES_MAX:
            raise self.lie("", f"it claims more than {FILES_MAX} files or {BYTES_MAX} bytes")
        found: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = info.filename
            self._places[name] = info.header_offset
            if name != MANIFEST and not any(pattern.fullmatch(name) for pattern in PLACES):
                raise self.lie(name, "a file of this name has no place in a bundle")
            if name in found:
                raise self.lie(name, "it is there twice")
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self.lie(name, "it is encrypted, or packed in a way that bundles are not")
            found[name] = info
        return found

    def _manifest(self, archive: zipfile.ZipFile, infos: dict[str, zipfile.ZipInfo]) -> Manifest:
        info = infos.get(MANIFEST)
        if info is None or info.file_size > SMALL_BYTES_MAX:
            raise self.lie(MANIFEST, "there is no manifest, or one that is far too large")
        text = archive.read(info)
        try:
            said = msgspec.json.decode(text, type=_Version)
            if (said.format, said.version) != (FORMAT, VERSION):
                raise JournalDamaged(
                    f"The bundle {self._path}, byte {info.header_offset}, is a {said.format} of version {said.version}; "
                    f"this Nano reads {FORMAT} of version {VERSION}.",
                    code="bundle_unreadable",
                    hint="Use the version of Nano that wrote it, or a newer one.",
                    file=str(self._path),
                    byte=info.header_offset,
                )
            manifest = msgspec.json.decode(text, type=Manifest)
        except UNREADABLE as error:
            raise self.lie(MANIFEST, f"it is no manifest ({error})") from error
        if manifest.node.kind not in KINDS:
            raise self.lie(MANIFEST, f"there is no kind of node {manifest.node.kind!r}")
        sizes = {file.name: file.size for file in manifest.files}
        if len(sizes) != len(manifest.files) or sizes.keys() != infos.keys() - {MANIFEST}:
            odd = sorted(sizes.keys() ^ (infos.keys() - {MANIFEST}))
            raise self.lie(odd[0] if odd else MANIFEST, "the manifest and the bundle do not name the same files")
        for name, size in sizes.items():
            if infos[name].file_size != size:
                raise self.lie(name, f"it has {infos[name].file_size} bytes, and the manifest says {size}")
        if not {"node.json"} <= sizes.keys() or not any(name.startswith("commits/") for name in sizes):
            raise self.lie(MANIFEST, "a node's card or its log is missing")
        return manifest

    def _unpack_one(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: BundledFile, folder: Path) -> None:
        """By the name it is known to have; never more bytes than promised."""
        place = next(place for pattern, place in PLACES.items() if pattern.fullmatch(file.name))
        target = folder / place / file.name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        digest, left = sha256(), file.size
        with archive.open(info) as packed, target.open("wb") as plain:
            while data := packed.read(COPY_BYTES):
                left -= len(data)
                if left < 0:
                    break
                digest.update(data)
                plain.write(data)
        if left:
            raise self.lie(file.name, "it does not have the bytes that the manifest says")
        if digest.hexdigest() != file.sha256:
            raise self.lie(file.name, "its SHA-256 is not what the manifest says")

    def check(self, manifest: Manifest, folder: Path) -> Node:
        """Read it once: the chain, positions, the kind of facts."""
        card = (folder / "data" / "node.json").read_bytes()
        try:
            if msgspec.json.decode(card, type=NodeCard) != manifest.node:
                raise self.lie("node.json", "it is not the node that the manifest names")
            node = Node(folder)
            node.is_copy = True
            node.begin()
        except UNREADABLE as error:
            raise self.lie("node.json", f"it can't be read ({error})") from error
        reader = node.reader()
        transactions = 0
        try:
            if reader.position + 1 != manifest.first:
                raise self.lie(MANIFEST, f"it starts at position {reader.position + 1}, not {manifest.first}")
            for line in reader.lines():
                transactions += 1
                for entry in line.events:
                    if why := _odd(entry.resource, manifest.node.kind):
                        raise self.lie(f"commits/{reader.path.name}", why, inside=reader.offset)
        except JournalDamaged as error:
            if error.code == "bundle_damaged":
                raise
            inside = Path(str(error.context.get("file", "commits"))).name
            raise self.lie(f"commits/{inside}", error.message.rpartition(": ")[2].rstrip("."), inside=int(
                error.context.get("byte", 0))) from error  # fmt: skip
        found = (reader.position, transactions, reader.hash.decode())
        if found != (manifest.last, manifest.transactions, manifest.head):
            raise self.lie(MANIFEST, "the log does not end where it says, or has lost lines at its end")
        return node

    def lie(self, name: str, why: str, *, inside: int | None = None) -> JournalDamaged:
        byte = self._places.get(name, self._path.stat().st_size if not name else 0)
        where = f" ({name}{'' if inside is None else f', byte {inside}'})" if name else ""
        return JournalDamaged(
            f"The bundle {self._path} is not what it says to be: byte {byte}{where}: {why}.",
            code="bundle_damaged",
            hint="Nothing was written. Ask for the bundle again, and compare its SHA-256.",
            file=str(self._path),
            byte=byte,
        )


def _odd(resource: str, kind: str) -> str:
    """Why a journal of this kind of node can't have this resource; empty when it can."""
    if not is_resource(resource):
        return f"{resource[:80]!r} is no name of a resource"
    keeper = TELLING.get(resource.partition("/")[0], kind)
    return f"{resource} is kept by a {keeper}, and this says to be a {kind}" if keeper != kind else ""
