"""Both languages have equal rights: every text is marked, every marked text is translated."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from jinja2 import Environment

from nano.ui.testing.messages import source_messages
from nano.ui.words import LOCALES, choose, load_words

TEMPLATES = Path(__file__).parents[3] / "ui" / "templates"
SPOKEN = {"title", "placeholder", "aria-label", "alt", "content", "data-label"}
SAME_EVERYWHERE = {"Nano", "KVM", "Ctrl-Alt-Del", "MiB", "GiB", "default", "wrong", "· Nano"}
PLACEHOLDER = re.compile(r"%\((\w+)\)s")


@pytest.mark.parametrize("path", sorted(LOCALES.glob("*/LC_MESSAGES/nano.po")), ids=lambda path: path.parts[-3])
def test_every_message_is_translated_and_none_is_left_over(path: Path) -> None:
    with path.open("rb") as file:
        catalogue = read_po(file)
    wanted = source_messages()
    missing = []
    for message in wanted:
        entry = catalogue.get(message if isinstance(message, str) else message[0])
        said = entry.string if entry else ""
        texts = (said,) if isinstance(said, str) else said
        if not all(texts):
            missing.append(message)
            continue
        for text in texts:
            known = {
                name
                for part in ((message,) if isinstance(message, str) else message)
                for name in PLACEHOLDER.findall(part)
            }
            assert set(PLACEHOLDER.findall(text)) <= known, f"{text} fills in what {message} does not"
    assert not missing, "run scripts/words, then translate these"
    keys = {message if isinstance(message, str) else message[0] for message in wanted}
    left_over = [entry.id for entry in catalogue if entry.id and _key(entry.id) not in keys]
    assert not left_over, "run scripts/words"


def _key(identifier: str | tuple[str, ...] | list[str]) -> str:
    return identifier if isinstance(identifier, str) else identifier[0]


class _Texts(HTMLParser):
    """Texts and spoken attributes that a template says by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.found += [value for name, value in attrs if name in SPOKEN and value]

    def handle_data(self, data: str) -> None:
        self.found.append(data)


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_templates_say_nothing_outside_of_translations(path: Path) -> None:
    plain = "".join(
        value if kind == "data" else "¤" if kind in ("variable_end", "block_end") else ""
        for _, kind, value in Environment().lex(re.sub(r"{% block section %}\w+", "", path.read_text()))
    )
    parser = _Texts()
    parser.feed(plain)
    said = [word.strip() for text in parser.found for word in text.split("¤")]
    spoken = [
        text
        for text in said
        if re.search(r"[^\W\d_]{2,}", text) and text not in SAME_EVERYWHERE and "/" not in text and "=" not in text
    ]
    assert not spoken, f"mark these for translation in {path.name}"


@pytest.mark.parametrize(
    ("cookie", "accepted", "chosen"),
    [
        ("", "", "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh_Hans"),
        ("", "de-DE,de;q=0.9,en;q=0.5", "en"),
        ("", "zh;q=0.3, en;q=0.7", "en"),
        ("", "zh;q=0", "en"),
        ("zh_Hans", "en", "zh_Hans"),
        ("klingon", "zh", "zh_Hans"),
        ("", ";;;q=,,*;q=x" * 40, "en"),
    ],
)
def test_the_language_of_a_request(cookie: str, accepted: str, chosen: str) -> None:
    assert choose(load_words(), cookie, accepted).tag == chosen


def test_plurals_follow_the_language() -> None:
    words = load_words()
    assert words["en"].ngettext("%(n)s guest", "%(n)s guests", 1) == "1 guest"
    assert words["en"].ngettext("%(n)s guest", "%(n)s guests", 2) == "2 guests"
    assert words["zh_Hans"].ngettext("%(n)s guest", "%(n)s guests", 2) == "2 台云主机"
