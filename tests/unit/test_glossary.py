"""The glossary says each word once, in the portal's Chinese, and names files that exist."""

import re
from pathlib import Path

from babel.messages.pofile import read_po

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/glossary.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| English", "|---"))
]


def test_each_word_once() -> None:
    words = [row[0].lower() for row in ROWS]
    assert len(words) > 70
    assert len(words) == len(set(words))
    chinese = [row[1] for row in ROWS if row[1] not in ("Core", "FrontEnd")]
    assert len(chinese) == len(set(chinese)), "two things with one Chinese word"


def test_the_chinese_is_that_of_the_portal() -> None:
    (path,) = (ROOT / "ui/locale").glob("zh*/LC_MESSAGES/nano.po")
    with path.open("rb") as file:
        said = {str(message.id): str(message.string) for message in read_po(file) if isinstance(message.id, str)}
    shared = {row[0]: row[1] for row in ROWS if row[0] in said}
    assert len(shared) > 15
    assert shared == {word: said[word] for word in shared}


def test_named_files_exist() -> None:
    named = {name for row in ROWS for cell in row[3:4] for name in re.findall(r"`([^`]+)`", cell)}
    missing = sorted(name for name in named if "/" in name and not (ROOT / name).exists())
    assert not missing
