"""Templates: one Jinja environment a language, compiled once, everything escaped.

A page and the parts of it that change by themselves are the same templates: ``page.html`` includes ``page/part.html``,
and a request with ``?part=part`` gets just that.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from nano.ui import ability_words, drift_words, guest_words, sentences, template_words, vocabulary
from nano.ui.formats import Formats, short
from nano.ui.statics import Statics
from nano.ui.words import Words

TEMPLATES: Final = Path(__file__).parent / "templates"


class Renderer:
    def __init__(self, languages: Mapping[str, Words], statics: Statics, clock: Callable[[], datetime]) -> None:
        self._environments = {tag: self._environment(words, statics, clock) for tag, words in languages.items()}

    def template(self, language: str, name: str) -> Template:
        return self._environments[language].get_template(name)

    def _environment(self, words: Words, statics: Statics, clock: Callable[[], datetime]) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            extensions=["jinja2.ext.i18n"],
        )
        environment.install_gettext_translations(words.translations, newstyle=True)  # type: ignore[attr-defined]
        formats = Formats(words)
        environment.globals |= {
            "words": words,
            "static": statics.url,
            "icon": lambda name, label="": _icon(statics.url("icons.svg"), name, label),
            "bar": _bar,
            "spark": _spark,
            "story_of": lambda fact: sentences.tell(fact, words, formats),
            "cause_word": lambda cause: sentences.cause_word(cause, words),
            "state_word": lambda kind, state: words._(str(vocabulary.STATES.get(f"{kind}.{state}", state))),
            "state_icon": lambda kind, state: vocabulary.STATE_ICONS.get(f"{kind}.{state}", "st-unknown"),
            "task_title": lambda kind: words._(str(vocabulary.TASKS.get(kind, kind))),
            "step_word": lambda step: sentences.step_word(step, words),
            "step_detail": lambda detail: sentences.step_detail(detail, words),
            "problem_words": lambda problem: sentences.problem_words(problem, words),
            "alarm_words": lambda alarm: sentences.alarm_words(alarm, words),
            "actor_word": sentences.actor_word,
            "cause_url": sentences.cause_url,
            "note_words": sentences.note_words,
            "field_words": lambda fields: guest_words.fields(fields, words),
            "priority_word": lambda priority: guest_words.priority(priority, words),
            "action_word": lambda action: guest_words.action(action, words),
            "limit_words": lambda guest: guest_words.limits(guest, words, formats),
            "system_word": lambda name: template_words.system(name, words),
            "part_word": lambda name: template_words.part(name, words),
            "model_word": lambda name: template_words.model(name, words),
            "hardware_words": lambda hardware: template_words.hardware(hardware, words),
            "policy_words": lambda policy: template_words.policy(policy, words),
            "drift_words": drift_words,
            "mendable": drift_words.MENDABLE,
            "vnc_place": guest_words.vnc_place,
            "vnc_tunnel": guest_words.vnc_tunnel,
            "abilities_told": lambda cell: ability_words.tell(cell.get("abilities", ()), words),
            "ability_missing": lambda cell, name: ability_words.missing(cell, name, words),
            "unfit": lambda cell, names: ability_words.unfit(cell, names, words),
            "score_reason": lambda score: sentences.score_reason(score, words),
            "now": clock,
        }
        environment.filters |= {
            "size": formats.size,
            "rate": formats.rate,
            "percent": formats.percent,
            "moment": formats.moment,
            "clock": formats.clock,
            "day": formats.day,
            "tick": formats.tick,
            "number": formats.number,
            "duration": formats.duration,
            "short": short,
            "ago": lambda at: _ago(formats, at, clock()),
            "lasted": lambda start, end=None: formats.between(start, end, clock()),
        }
        return environment


def _icon(sprite: str, name: str, label: str = "") -> Markup:
    """One symbol of the sprite; a label makes it readable aloud, without one it is decoration (browsers skip it)."""
    meaning = Markup(' role="img" aria-label="{}"').format(label) if label else ""
    return Markup('<svg class="icon"{}><use href="{}#{}"/></svg>').format(meaning, sprite, name)


def _bar(percent: float, kind: str = "") -> Markup:
    """How much of something is used. An SVG, because the policy allows no inline style."""
    width = max(0.0, min(100.0, float(percent)))
    level = kind or ("over" if width >= 90 else "high" if width >= 75 else "")
    return Markup(
        '<svg class="bar {}" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="bar-back" width="100" height="4"/><rect class="bar-fill" width="{}" height="4"/></svg>'
    ).format(level, f"{width:.1f}")


def _spark(values: list[float], floor: float = 25.0) -> Markup:
    """A small line of the last values; nothing while there are fewer than two. ``floor`` keeps idle lines low."""
    if len(values) < 2:
        return Markup("")
    top = max(floor, *values) * 1.1
    step = 64 / (len(values) - 1)
    points = " ".join(f"{i * step:.0f},{17 - 16 * min(1.0, value / top):.1f}" for i, value in enumerate(values))
    return Markup(
        '<svg class="spark" viewBox="0 0 64 18" preserveAspectRatio="none" aria-hidden="true">'
        '<polyline points="{}"/></svg>'
    ).format(points)


def _ago(formats: Formats, at: Any, now: datetime) -> Markup:
    """ "3 minutes ago" with the exact time on hover; scripts keep it true."""
    if not at:
        return Markup("")
    exact = formats.moment(at)
    return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(
        at if isinstance(at, str) else at.isoformat(), exact, formats.ago(at, now)
    )
