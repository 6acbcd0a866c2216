"""The portal's languages: English in the source, every other in ``locale/<tag>/LC_MESSAGES/nano.po``.

Catalogues are read from ``.po`` at start and compiled in memory, so what a translator edits is what is served. Both
languages have equal rights: a test fails when a message has no translation.
"""

import io
import re
from pathlib import Path
from typing import Final

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

LOCALES: Final = Path(__file__).parent / "locale"
ENGLISH: Final = "en"
_ACCEPTED = re.compile(r"([A-Za-z-]+)\s*(?:;\s*q=([0-9.]+))?")


def N_(text: str) -> str:
    """Mark a text in a table for translation; it is translated where it is shown."""
    return text


class Words:
    """One language: ``_`` and ``ngettext`` fill in ``%(name)s``; ``locale`` formats numbers and dates."""

    def __init__(self, tag: str, title: str, translations: NullTranslations) -> None:
        self.tag = tag
        self.title = title
        self.translations = translations
        self.locale = Locale.parse(tag.replace("-", "_"))

    @property
    def html(self) -> str:
        """The language tag for HTML: "zh-Hans"."""
        return self.tag.replace("_", "-")

    def _(self, message: str, **values: object) -> str:
        text: str = self.translations.ugettext(message) if message else ""
        return text % values if values else text

    def ngettext(self, one: str, many: str, n: int, **values: object) -> str:
        text: str = self.translations.ungettext(one, many, n)
        return text % {"n": n, **values}


def load_words() -> dict[str, Words]:
    """Every language by its tag, English first."""
    languages = {ENGLISH: Words(ENGLISH, "English", NullTranslations())}
    for path in sorted(LOCALES.glob("*/LC_MESSAGES/nano.po")):
        tag = path.parts[-3]
        with path.open("rb") as file:
            catalogue = read_po(file, locale=tag)
        compiled = io.BytesIO()
        write_mo(compiled, catalogue)
        compiled.seek(0)
        title = Locale.parse(tag).get_language_name(tag) or tag
        languages[tag] = Words(tag, {"zh_Hans": "简体中文"}.get(tag, title), Translations(compiled))
    return languages


def choose(languages: dict[str, Words], chosen: str, accepted: str) -> Words:
    """The language of a request: its own choice (cookie), else the best of Accept-Language, else English."""
    if chosen in languages:
        return languages[chosen]
    wishes = sorted(
        ((float(quality or 1), -order, tag) for order, (tag, quality) in enumerate(_wishes(accepted))), reverse=True
    )
    for quality, _, tag in wishes:
        if quality <= 0:
            continue
        for known in languages.values():
            if tag.lower().split("-")[0] == known.tag.lower().split("_")[0]:
                return known
    return languages[ENGLISH]


def _wishes(accepted: str) -> list[tuple[str, str]]:
    found = []
    for part in accepted[:200].split(","):
        match = _ACCEPTED.fullmatch(part.strip())
        if match and _is_number(match[2]):
            found.append((match[1], match[2] or ""))
    return found


def _is_number(text: str | None) -> bool:
    return not text or text.replace(".", "", 1).isdigit()
