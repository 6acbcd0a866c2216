"""Every text of the portal that is marked for translation, found in its sources. Used by ``scripts/words`` and a test."""

from io import BytesIO
from pathlib import Path
from typing import Any, Final

from babel.messages.extract import extract

from nano.domain.alarm import KINDS

UI: Final = Path(__file__).parents[1]
KEYWORDS: Final = {"_": None, "N_": None, "gettext": None, "ngettext": (1, 2)}


def source_messages() -> dict[str | tuple[str, ...], str]:
    """Message (or its singular and plural) -> the first place that uses it, as "templates/login.html"."""
    found: dict[str | tuple[str, ...], str] = {}
    for path in sorted([*UI.rglob("*.py"), *(UI / "templates").rglob("*.html")]):
        method = "python" if path.suffix == ".py" else "jinja2.ext:babel_extract"
        options: dict[str, Any] = {"trim_blocks": "true", "lstrip_blocks": "true"} if path.suffix == ".html" else {}
        source = BytesIO(path.read_bytes())
        for _, message, _, _ in extract(method, source, KEYWORDS, options=options):
            if message:
                found.setdefault(message, str(path.relative_to(UI)))
    for kind in KINDS.values():  # what alarms say is decided where they are raised
        for message in (kind.message, kind.hint):
            found.setdefault(message, "alarms")
    return found
