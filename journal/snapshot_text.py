"""The text of a snapshot: JSON lines, compressed with zstd, so that ``zstd -dc FILE | jq`` shows it.

    {"snapshot":1,"position":…,"hash":"…","time":"…","epoch":…,"code":"…"}      of which journal, of which code
    {"states":[{"guest":{"guest/…":{…},…}},{"task":{…}},…]}                     runs of one kind, in the model's order
    {"versions":{…}}, {"tracking":{…}}, {"memory":{…}}, {"receipts":[[…]]}
    {"digest":"<SHA-256 over all the text before>"}

After the compressed text, in a frame that zstd skips, follows SHA-256 over the file: decompressing alone would let some
changed bits pass, because not every bit of a compressed text matters.

Invariant: what reads back is equal to what was captured, order included. Text is made and read in pieces of some
hundred entries: other threads get their turn in between, and no second copy of everything is held.

``code`` is a digest over the model's source and the schema of its states: a snapshot is only as right as the ``evolve``
that made it, so another version of that code folds from the beginning once. It does not know files.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cache
from hashlib import sha256
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import zstandard

import nano
from nano.domain.facts import Model, State, kind_of
from nano.journal.folded import Capture, Read
from nano.journal.line import format_time
from nano.journal.small_files import UNREADABLE

T = TypeVar("T")

FORMAT: Final = 2
LEVEL: Final = 3
STATES_A_PART: Final = 250
PLAIN_A_PART: Final = 2_500
READ_BYTES: Final = 1 << 20
PART_BYTES_MAX: Final = 64 << 20
HEAD_BYTES: Final = 256 << 10  # more than zstd needs to give the first line
TRAILER: Final = b"\x5e\x2a\x4d\x18\x20\0\0\0"  # a skippable frame of 32 bytes
TRAILER_BYTES: Final = len(TRAILER) + 32


Share = Callable[[str, State], State]
_RECEIPTS: Final = b'{"receipts":'


class Unusable(Exception):
    """This snapshot can't be used; the message is the reason, in words."""


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    snapshot: int
    position: int
    hash: str
    time: datetime
    epoch: int
    code: str


class _End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: str


class _Format(msgspec.Struct, frozen=True):
    snapshot: int


@cache
def code_of(model: type[Model]) -> str:
    """A digest of whatever decides what events fold into: 64 hex digits. Read once: the files may be replaced meanwhile."""
    rules = model.rules
    parts = [nano.__version__, repr(msgspec.json.schema_components(rules.states.values()))]
    names = {evolve.__module__ for evolve in rules.evolve.values()} | {model.__module__}
    folders = {Path(str(sys.modules[name].__file__)).parent for name in names}
    digest = sha256("\n".join(parts).encode())
    for path in sorted(path for folder in folders for path in folder.glob("*.py")):
        digest.update(b"\n%b\n" % path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


class SnapshotText:
    """Text of snapshots of one model. Models that don't say what their states are have none."""

    def __init__(self, model: Model, *, any_code: bool = False) -> None:
        """``any_code`` also reads what another version of the code has made."""
        self._any_code = any_code
        self.code = code_of(type(model))  # type: ignore[arg-type] # mypy takes no class for Hashable
        kinds = model.rules.states
        runs: Any = msgspec.defstruct(
            "Run",
            [(kind, dict[str, struct] | None, None) for kind, struct in kinds.items()],  # type: ignore[valid-type]
            forbid_unknown_fields=True,
        )
        fields: list[tuple[str, Any, Any]] = [
            ("states", list[runs] | None, None),
            ("versions", dict[str, int] | None, None),
            ("tracking", dict[str, Read | int] | None, None),
            ("memory", dict[str, list[str]] | None, None),
            ("receipts", list[tuple[str, int, str]] | None, None),
        ]
        self._part = msgspec.json.Decoder(msgspec.defstruct("Part", fields, forbid_unknown_fields=True))
        self._kinds = tuple(kinds)

    # ------------------------------------------------------------------ writing

    def write(self, capture: Capture) -> Iterator[bytes]:
        """Its compressed text, in pieces."""
        file = sha256()
        for piece in self._compressed(capture):
            file.update(piece)
            yield piece
        yield TRAILER + file.digest()

    def _compressed(self, capture: Capture) -> Iterator[bytes]:
        compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        digest = sha256()
        for part in self._parts_of(capture):
            text = msgspec.json.encode(part) + b"\n"
            digest.update(text)
            yield compressor.compress(text)
        yield compressor.compress(msgspec.json.encode(_End(digest.hexdigest())) + b"\n") + compressor.flush()

    def _parts_of(self, capture: Capture) -> Iterator[Any]:
        yield {
            "snapshot": FORMAT,
            "position": capture.position,
            "hash": capture.hash.decode(),
            "time": format_time(capture.time),
            "epoch": capture.epoch,
            "code": self.code,
        }
        for states in _pieces(capture.states.items(), STATES_A_PART):
            yield {"states": _runs(states)}
        for versions in _pieces(capture.versions.items(), PLAIN_A_PART):
            yield {"versions": dict(versions)}
        yield {"tracking": capture.tracking}
        yield {"memory": capture.memory}
        for receipts in _pieces(capture.receipts.items(), PLAIN_A_PART):
            yield {"receipts": [(name, known >> 64, f"{known & (1 << 64) - 1:x}") for name, known in receipts]}

    # ------------------------------------------------------------------ reading

    def read(self, data: bytes, share: Share | None = None) -> Capture:
        """What was captured; with ``share`` only what a look at the past needs: states, each as ``share`` gives it back,
        the versions of these, and memory. Raises Unusable."""
        self.header_of(data)
        require_whole(data)
        return self._take(texts_of(data), share)

    def check(self, data: bytes, capture: Capture) -> None:
        """Raises Unusable unless ``data`` says exactly what was captured."""
        require_whole(data)
        texts = texts_of(data)
        header = self.header(next(texts))
        expected = (capture.position, capture.hash.decode(), capture.time, capture.epoch)
        if (header.position, header.hash, header.time, header.epoch) != expected:
            raise Unusable("its header does not read back")
        states, versions = iter(capture.states.items()), iter(capture.versions.items())
        receipts = iter(capture.receipts.items())
        tracking: dict[str, Read] = {}
        memory: dict[str, list[str]] = {}
        for text in texts:
            part = self._decode(text)
            same = (
                _same(self._states(part), states)
                and _same((part.versions or {}).items(), versions)
                and _same(_receipts(part), receipts)
            )
            if not same:
                raise Unusable("it does not read back as what was captured")
            tracking |= _tracking(part)
            memory |= part.memory or {}
        if tracking != capture.tracking or memory != capture.memory or any(map(tuple, (states, versions, receipts))):
            raise Unusable("it does not read back as what was captured")

    def header_of(self, data: bytes) -> Header:
        """The header in the first bytes of a snapshot. Raises Unusable."""
        return self.header(_first_line(data))

    def header(self, text: bytes) -> Header:
        """Raises Unusable for text that is no header, or that of another format or code."""
        header = _header(text)
        if isinstance(header, _Format):
            raise Unusable(f"it has format {header.snapshot}, this version reads {FORMAT}")
        if header.code != self.code and not self._any_code:
            raise Unusable("it was made by another version of this node's code")
        return header

    def _take(self, texts: Iterator[bytes], share: Share | None) -> Capture:
        header = self.header(next(texts, b""))
        states: dict[str, State] = {}
        versions: dict[str, int] = {}
        tracking: dict[str, Read] = {}
        memory: dict[str, list[str]] = {}
        receipts: dict[str, int] = {}
        for text in texts:
            if share is not None and text.startswith(_RECEIPTS):
                continue
            part = self._decode(text)
            if share is None:
                states.update(self._states(part))
                versions |= part.versions or {}
            else:
                states.update((name, share(name, state)) for name, state in self._states(part))
                versions.update(item for item in (part.versions or {}).items() if item[0] in states)
            tracking |= _tracking(part)
            memory |= part.memory or {}
            receipts.update(_receipts(part))
        return Capture(
            position=header.position,
            hash=header.hash.encode(),
            time=header.time,
            epoch=header.epoch,
            states=states,
            versions=versions,
            tracking=tracking,
            memory=memory,
            receipts=receipts,
        )

    def _decode(self, text: bytes) -> Any:
        try:
            return self._part.decode(text)
        except UNREADABLE as error:
            raise Unusable(f"a part of it can't be read ({error})") from error

    def _states(self, part: Any) -> Iterator[tuple[str, State]]:
        for run in part.states or ():
            for kind in self._kinds:
                yield from (getattr(run, kind) or {}).items()


def texts_of(data: bytes) -> Iterator[bytes]:
    """Every line but the last, which has the digest of them all. Raises Unusable."""
    digest, rest, before = sha256(), b"", b""
    try:
        with zstandard.ZstdDecompressor().stream_reader(BytesIO(data), read_across_frames=False) as reader:
            while text := reader.read(READ_BYTES):
                *lines, rest = (rest + text).split(b"\n")
                for line in lines:
                    if before:
                        digest.update(before + b"\n")
                        yield before
                    before = line
                if len(rest) > PART_BYTES_MAX:
                    raise Unusable("a part of it is too large")
    except zstandard.ZstdError as error:
        raise Unusable(f"it can't be decompressed ({error})") from error
    try:
        end = msgspec.json.decode(before, type=_End)
    except UNREADABLE as error:
        raise Unusable("it is cut short") from error
    if rest or end.digest != digest.hexdigest():
        raise Unusable("its digest does not fit its text")


class _Versions(msgspec.Struct):
    versions: dict[str, int] | None = None


def versions_in(data: bytes) -> dict[str, int]:
    """The versions that resources had, of any snapshot, without its model. Raises Unusable."""
    found: dict[str, int] = {}
    for text in texts_of(data):
        if text.startswith(b'{"versions"'):
            found |= msgspec.json.decode(text, type=_Versions).versions or {}
    return found


def require_whole(data: bytes) -> None:
    """Raises Unusable unless the file has every bit as it was written."""
    if data[-TRAILER_BYTES:] != TRAILER + sha256(data[:-TRAILER_BYTES]).digest():
        raise Unusable("it is not what was written")


def whole_header(data: bytes) -> Header | None:
    """Checks a whole file without its model: its header, None where it has another format. Raises Unusable."""
    if data[-TRAILER_BYTES:].startswith(TRAILER):
        require_whole(data)
    header = _header(_first_line(data))
    if isinstance(header, _Format):
        return None
    require_whole(data)
    return header


def _first_line(data: bytes) -> bytes:
    try:
        with zstandard.ZstdDecompressor().stream_reader(BytesIO(data[:HEAD_BYTES])) as reader:
            return bytes(reader.read(1_000)).partition(b"\n")[0]
    except zstandard.ZstdError as error:
        raise Unusable(f"it can't be decompressed ({error})") from error


def _header(text: bytes) -> Header | _Format:
    try:
        found = msgspec.json.decode(text, type=_Format)
        return found if found.snapshot != FORMAT else msgspec.json.decode(text, type=Header)
    except UNREADABLE as error:
        raise Unusable(f"its header can't be read ({error})") from error


def _pieces(items: Iterable[T], size: int) -> Iterator[list[T]]:
    every = iter(items)
    while piece := list(islice(every, size)):
        yield piece


def _runs(states: list[tuple[str, State]]) -> list[dict[str, dict[str, State]]]:
    runs: list[dict[str, dict[str, State]]] = []
    last = ""
    for resource, state in states:
        kind = kind_of(resource)
        if kind != last:
            runs.append({kind: {}})
            last = kind
        runs[-1][kind][resource] = state
    return runs


def _tracking(part: Any) -> dict[str, Read]:
    """Older ones have a position without a mark."""
    return {name: (read, "") if isinstance(read, int) else read for name, read in (part.tracking or {}).items()}


def _receipts(part: Any) -> Iterator[tuple[str, int]]:
    for name, position, digest in part.receipts or ():
        try:
            yield name, position << 64 | int(digest, 16)
        except ValueError as error:
            raise Unusable("a receipt in it is none") from error


def _same(found: Iterable[Any], expected: Iterator[Any]) -> bool:
    """Whether everything found comes next in what is expected."""
    return all(one == next(expected, None) for one in found)
