"""Text can be read in both themes: at least 4.5:1 on everything it is written on (WCAG 2, level AA)."""

import re

import pytest

from nano.ui.statics import ROOT

PAIR = re.compile(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)")
TOKENS = {name: (light, dark) for name, light, dark in PAIR.findall((ROOT / "css/10-tokens.css").read_text())}
STATES = ("good", "warn", "bad", "busy", "calm")
GROUNDS = ("ground", "surface", "raised", "hover", "sunk", "rail-ground")
WRITTEN_ON = [
    *[(text, ground) for text in ("text", "text-2", "text-3") for ground in GROUNDS],
    *[("accent", ground) for ground in ("ground", "surface", "raised")],
    *[(state, ground) for state in STATES for ground in ("surface", "ground", "hover", f"{state}-soft")],
    *[("text", f"{state}-soft") for state in ("good", "bad")],
    ("text-2", "bad-soft"),
    ("text-2", "accent-soft"),
    ("accent-strong", "accent-soft"),
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("on-state", "bad"),
]  # fmt: skip


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), WRITTEN_ON)
def test_text_can_be_read(text: str, ground: str, theme: str) -> None:
    at = ("light", "dark").index(theme)
    ratio = contrast(TOKENS[text][at], TOKENS[ground][at])
    assert ratio >= 4.5, f"--{text} on --{ground} in the {theme} theme has only {ratio:.2f}:1"


def test_the_measure_is_right() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
