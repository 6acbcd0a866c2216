"""Styled text: spans of text with a style, measured, cut and folded by the columns it takes on a terminal.

A small stand-in for rich's Text and Table, which take ten times as long for a list of a thousand guests and as much time
to load as everything else together (docs/decisions/0020). Styles are a few words; anything else is shown unstyled.
"""

import re
from typing import Final, Literal
from unicodedata import combining, east_asian_width

Justify = Literal["left", "right"]

CODES: Final = {
    "dim": "2",
    "bold": "1",
    "green": "32",
    "yellow": "33",
    "red": "31",
    "cyan": "36",
    "bold red": "1;31",
}
GAP: Final = 2
_WORD: Final = re.compile(r"\s*\S+|\s+$")


def columns_of(text: str) -> int:
    """How many columns of a terminal this takes; Chinese characters take two."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text)


class Text:
    """Spans in order. ``append`` changes it and returns it; everything else gives something new."""

    __slots__ = ("spans",)

    def __init__(self, text: str = "", style: str = "") -> None:
        self.spans: list[tuple[str, str]] = [(text, style)] if text else []

    def append(self, text: "str | Text", style: str = "") -> "Text":
        if isinstance(text, Text):
            self.spans += text.spans
        elif text:
            self.spans.append((text, style))
        return self

    @property
    def plain(self) -> str:
        return self.spans[0][0] if len(self.spans) == 1 else "".join(text for text, _ in self.spans)

    @property
    def width(self) -> int:
        return columns_of(self.plain)

    def ansi(self, colours: bool) -> str:
        if not colours:
            return self.plain
        return "".join(f"\x1b[{CODES[style]}m{text}\x1b[0m" if style in CODES else text for text, style in self.spans)

    def cut(self, width: int) -> "Text":
        """At most ``width`` columns; what is too long ends in an ellipsis."""
        if self.width <= width:
            return self
        end = _fitting(self.plain, max(0, width - 1))
        return self._slice(0, end).append("…")

    def folded(self, width: int) -> "list[Text]":
        """Lines of at most ``width`` columns, broken between words where there are any."""
        if self.width <= width:
            return [self]
        plain = self.plain
        lines: list[Text] = []
        start = end = 0
        for match in _WORD.finditer(plain):
            if columns_of(plain[start : match.end()]) > width and end > start:
                lines.append(self._slice(start, end))
                start = match.end() - len(match.group().lstrip())
            while columns_of(plain[start : match.end()]) > width:
                broken = start + max(1, _fitting(plain[start : match.end()], width))
                lines.append(self._slice(start, broken))
                start = broken
            end = match.end()
        if end > start:
            lines.append(self._slice(start, end))
        return lines

    def _slice(self, start: int, end: int) -> "Text":
        part = Text()
        at = 0
        for text, style in self.spans:
            part.append(text[max(0, start - at) : max(0, end - at)], style)
            at += len(text)
        return part


def _fitting(text: str, width: int) -> int:
    """How many of the first letters take at most ``width`` columns."""
    if text.isascii():
        return min(len(text), width)
    taken = 0
    for number, letter in enumerate(text):
        taken += columns_of(letter)
        if taken > width:
            return number
    return len(text)


def lay_out(
    rows: "list[list[Text]]", widths: list[int], justify: list[Justify], folds: list[bool], colours: bool
) -> list[str]:
    """Lines of cells side by side, GAP columns apart; cells of a folding column go on below themselves."""
    lines: list[str] = []
    for row in rows:
        stacks = [
            cell.folded(width) if fold else [cell.cut(width)]
            for cell, width, fold in zip(row, widths, folds, strict=True)
        ]
        for level in range(max(map(len, stacks))):
            line = ""
            blank = 0
            for stack, width, side in zip(stacks, widths, justify, strict=True):
                text = stack[level] if level < len(stack) else Text()
                room = width - text.width
                if text.spans:
                    before = blank + (room if side == "right" else 0)
                    line += " " * before + text.ansi(colours)
                    blank = (0 if side == "right" else room) + GAP
                else:
                    blank += width + GAP
            lines.append(line)
    return lines
