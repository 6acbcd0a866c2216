"""``scripts/words``: catalogues follow the sources. Prints what still needs a translation; exits 1 when anything does."""

import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

from nano.ui.testing.messages import source_messages
from nano.ui.words import LOCALES


def update(path: Path, locale: str) -> list[str]:
    """Rewrite one catalogue; the messages that have no translation."""
    old = Catalog(locale=locale)
    if path.exists():
        with path.open("rb") as file:
            old = read_po(file, locale=locale)
    fresh = Catalog(
        locale=locale,
        project="Nano portal",
        version="2",
        header_comment=f"# The portal in {locale}. scripts/words keeps it up to date.",
        creation_date=old.creation_date,
        revision_date=old.creation_date,
        last_translator="Nano",
        language_team="Nano",
        msgid_bugs_address="issues",
        fuzzy=False,
    )
    missing = []
    for message, place in source_messages().items():
        key = message if isinstance(message, str) else message[0]
        known = old.get(key)
        said = known.string if known else ""
        fresh.add(message, said, locations=[(place, 1)])
        if not said or (isinstance(said, tuple) and not all(said)):
            missing.append(key)
    with path.open("wb") as file:
        write_po(file, fresh, width=120, omit_header=False, sort_output=True, include_lineno=False)
    return missing


def main() -> int:
    missing = {path.parts[-3]: update(path, path.parts[-3]) for path in LOCALES.glob("*/LC_MESSAGES/nano.po")}
    for locale, messages in missing.items():
        for message in messages:
            print(f"{locale}: {message}")  # noqa: T201 (this is the program's answer)
    return 1 if any(missing.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
