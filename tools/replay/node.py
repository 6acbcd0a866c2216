"""One node's folder as nano-replay sees it: where its journal is, what kind of node wrote it, the model it folds into.

The kind is told by ``data/node.json``; for a journal that came without it by the folder's name, else by the first events.
Opens everything for reading only.
"""

import re
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Union

import msgspec

from nano.domain.errors import Invalid, Unknown
from nano.domain.facts import Model
from nano.journal.disk import Disk
from nano.journal.engines.marks import MARK_FILE
from nano.journal.engines.opening import journal_disk
from nano.journal.horizon import Beginning, Horizon, beginning, read_base, read_horizon
from nano.journal.line import format_time
from nano.journal.reader import JournalReader
from nano.journal.segments import damaged
from nano.journal.small_files import UNREADABLE
from nano.journal.snapshot_text import SnapshotText, Unusable
from nano.transports.node_files import NodeCard

if TYPE_CHECKING:
    from nano.tools.display.terminal import Terminal
    from nano.tools.replay.fold import Fold

KINDS: Final = ("core", "cell", "frontend")
TELLING: Final = {
    "zone": "core",
    "guest": "core",
    "domain": "cell",
    "order": "cell",
    "account": "frontend",
    "session": "frontend",
    "login": "frontend",
}


_RESOURCE: Final = re.compile(r"[0-9A-Za-z_-]{1,64}/(?!\.{1,2}$)[0-9A-Za-z_.-]{1,64}")


def is_resource(name: str) -> bool:
    """Whether this can be the name of a resource, which is also the path of its journal."""
    return _RESOURCE.fullmatch(name) is not None


def has_log(journal: Path) -> bool:
    """Whether this is a journal's folder: its log is there, or in a database that it names."""
    return (journal / "commits").is_dir() or (journal / MARK_FILE).is_file()


class Start(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was true after ``position``, whose line has ``hash``: where a slice of a journal goes on."""

    position: int
    hash: str
    time: datetime
    states: dict[str, msgspec.Raw]
    versions: dict[str, int]
    memory: dict[str, list[str]]


class Node:
    """``folder`` is a node's (S/core …), or the journal folder itself. Raises Unknown(no_journal), Invalid.

    ``start`` is None, but for a slice of a journal: what was true before its first line. ``is_copy`` = nobody writes on.
    ``disk`` is what its journal is read by; ``close`` it in the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder if has_log(folder) else folder / "data" / "journal"
        if not has_log(self.journal):
            raise Unknown(
                f"There is no journal in {folder}.",
                code="no_journal",
                hint="Name a node's folder: --node STATE/core, STATE/cell or STATE/frontend.",
            )
        self._opened = ExitStack()
        self.disk: Disk = self._opened.enter_context(journal_disk(self.journal))
        card = self._card()
        self.kind = card.kind if card else folder.name if folder.name in KINDS else self._guessed()
        self.name = card.name if card else self.kind
        self.start = self._start()
        self.is_copy = False

    def close(self) -> None:
        """Let go of what was opened to read it. May be called twice."""
        self._opened.close()

    def reader(self, *, typed: bool = False) -> JournalReader:
        """From the beginning. ``typed`` decodes events into their structs, else they stay raw JSON."""
        reader = JournalReader(self.journal, self.model().rules.event_types() if typed else (), disk=self.disk)
        if self.start is not None:
            reader.position, reader.hash = self.start.position, self.start.hash.encode()
        return reader

    def model(self) -> Model:
        """An empty one of this node's kind; only the room that is needed is loaded."""
        if self.kind == "cell":
            from nano.domain.site import Site

            return Site()
        if self.kind == "frontend":
            from nano.domain.office import Office

            return Office()
        from nano.domain.zone import Zone

        return Zone()

    def event_decoder(self) -> msgspec.json.Decoder[Any]:
        """For single events of this node's kind."""
        return msgspec.json.Decoder(Union[self.model().rules.event_types()])  # noqa: UP007 (built from a tuple)

    def begins(self) -> Beginning:
        """What comes before the first line. Raises JournalDamaged."""
        if self.start is not None:
            return Beginning(self.start.position, self.start.hash.encode(), self.start.time, 0)
        return beginning(self.disk, self.journal / "commits")

    @property
    def horizon(self) -> Horizon | None:
        """Where this journal begins, when old segments of it were dropped. Raises JournalDamaged."""
        return read_horizon(self.disk, self.journal / "commits")

    def begin(self) -> "Fold":
        """What was true before the first line of this journal: nothing, but for a slice or behind a horizon. Raises
        JournalDamaged."""
        from nano.tools.replay.fold import Fold

        fold = Fold(self.model())
        if (horizon := self.horizon) is not None:
            commits = self.journal / "commits"
            try:
                fold.restore_base(SnapshotText(fold.model, any_code=True).read(read_base(self.disk, commits, horizon)))
            except Unusable as error:
                raise damaged(horizon.base_paths(self.journal)[0], 0, f"it can't be folded on ({error})") from error
        if self.start is not None:
            try:
                fold.restore(self.start)
            except (*UNREADABLE, AttributeError, TypeError, ValueError, KeyError) as error:
                raise damaged(self.journal / "start.json", 0, f"it can't be folded on ({error})") from error
        return fold

    def _start(self) -> Start | None:
        path = self.journal / "start.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Start)
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            raise damaged(path, 0, f"it is no start of a slice ({error})") from error

    @property
    def certificate(self) -> Path:
        """Where its certificate is, for the signatures of seals."""
        return self.folder / "config" / "node.crt"

    def _card(self) -> NodeCard | None:
        path = self.folder / "data" / "node.json"
        try:
            card = msgspec.json.decode(path.read_bytes(), type=NodeCard)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UNREADABLE as error:
            raise Invalid(
                f"{path} can't be read: {error}.", code="invalid_node_card", hint="Restart the node."
            ) from error
        if card.kind not in KINDS:
            raise Invalid(
                f"{path} names no kind of node: {card.kind!r}.", code="invalid_node_card", hint="Update Nano."
            )
        return card

    def _guessed(self) -> str:
        for line in JournalReader(self.journal, disk=self.disk).lines():
            for entry in line.events:
                if (kind := TELLING.get(entry.resource.partition("/")[0])) is not None:
                    return kind
        return "core"


def tell_beginning(terminal: "Terminal", node: Node) -> None:
    """Say where a history begins that is no longer all there."""
    if (horizon := node.horizon) is not None:
        terminal.note(
            f"This journal begins after position {horizon.position} ({format_time(horizon.time)}); older facts are gone."
        )
