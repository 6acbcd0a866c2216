"""Exit codes of nano-replay, and how every refusal becomes one: a script can tell damage from everything else.

    0  done, the journal is whole     1  damage was found: file and byte are named     2  refused, or not possible

130 is what an interrupted program has. A folder that can't be read, a full disk at the target and a defect of this program
are 2, so that 1 always means that a journal, a backup or a bundle is not what was written.
"""

from typing import Any, Final

from nano.domain.errors import JournalDamaged, NanoError

WHOLE: Final = 0
DAMAGED: Final = 1
REFUSED: Final = 2
INTERRUPTED: Final = 130

TABLE: Final = (
    (WHOLE, "done; the journal is whole"),
    (DAMAGED, "damage was found: file and byte are named"),
    (REFUSED, "a word or value is wrong, there is no such thing, or it can't be done"),
)


def exit_code(error: NanoError) -> int:
    return DAMAGED if isinstance(error, JournalDamaged) else REFUSED


def as_document(error: NanoError) -> dict[str, Any]:
    """What ``-o json`` says on stderr, on one line."""
    return {"code": error.code, "message": error.message, "hint": error.hint, **error.context}
