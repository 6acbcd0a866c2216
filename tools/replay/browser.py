"""The browser's screen and what its keys do, without a terminal: a list of facts above, what the chosen one did below.

    up down  j k           a fact earlier, later          enter  right   only the life of this resource
    page up, page down     ten of them                    left  escape   everything again
    home end  g G          the first, the last            /  n  N        search, next, previous
    [ ]                    this resource's fact before, after
    s                      below: what changed, or the whole state after it
    q                      end

Invariant: the chosen fact is always one that is shown; when nothing matches, the choice stays where it was.
"""

from collections.abc import Callable, Sequence
from typing import Final

from nano.domain.facts import State, kind_of
from nano.tools.display import words
from nano.tools.display.sentences import sentence
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import Text
from nano.tools.replay.difference import arrow, changed_fields, flat, shown
from nano.tools.replay.facts import HIDDEN
from nano.tools.replay.walk import Step, Walk

PAGE: Final = 10
WHO: Final = 12
HELP: Final = "↑↓ step  ⏎ its life  ← all  [ ] same resource  s state  / search  g G ends  q quit"
PLAIN_HELP: Final = "j k step  enter its life  esc all  [ ] same resource  s state  / search  g G ends  q quit"


class Browser:
    """``key`` takes a word of ``display.keys``; False = end. ``draw`` gives lines that fit."""

    def __init__(self, terminal: Terminal, walk: Walk) -> None:
        self.terminal = terminal
        self.walk = walk
        self.life = ""  # the resource that is looked at alone
        self.whole_state = False
        self.typing: str | None = None  # what is being searched for, while it is typed
        self.sought = ""
        self.note = ""
        self.chosen = 0
        self.shown: Sequence[Step] = ()
        self._names: dict[str, str] = {}
        self._choose_from(len(self.walk.steps))

    # ------------------------------------------------------------------ keys

    def key(self, key: str) -> bool:
        self.note = ""
        if self.typing is not None:
            self._type(key)
            return True
        if key in ("q", "quit"):
            return False
        if key == "/":
            self.typing = ""
        elif (does := self._keys.get(key)) is not None:
            does()
        return True

    @property
    def _keys(self) -> dict[str, Callable[[], None]]:
        last = len(self.shown) - 1
        moves = {
            ("up", "k"): self.chosen - 1, ("down", "j"): self.chosen + 1, ("page up",): self.chosen - PAGE,
            ("page down", " "): self.chosen + PAGE, ("home", "g"): 0, ("end", "G"): last,
        }  # fmt: skip
        found: dict[str, Callable[[], None]] = {
            key: lambda target=target: self._go(target)  # type: ignore[misc]
            for keys, target in moves.items()
            for key in keys
        }
        return found | {
            "enter": self._see_life, "right": self._see_life, "escape": self._see_all, "left": self._see_all,
            "backspace": self._see_all, "[": lambda: self._same(-1), "]": lambda: self._same(1), "s": self._turn,
            "tab": self._turn, "n": lambda: self._seek(1), "N": lambda: self._seek(-1),
        }  # fmt: skip

    def _go(self, target: int) -> None:
        self.chosen = max(0, min(target, len(self.shown) - 1))

    def _turn(self) -> None:
        self.whole_state = not self.whole_state

    def _see_life(self) -> None:
        if self.shown and not self.life:
            step = self.step
            self.life = step.resource
            self._choose_from(step.position)

    def _see_all(self) -> None:
        position = self.step.position if self.shown else 0
        self.life = ""
        self._choose_from(position)

    def _choose_from(self, position: int) -> None:
        """Show what is to be shown now; the fact at the position, or the last before it, is the chosen one."""
        self.shown = [step for step in self.walk.steps if self.life in ("", step.resource)]
        places = [number for number, step in enumerate(self.shown) if step.position <= position]
        self.chosen = places[-1] if places else 0

    def go_to_end(self) -> None:
        self._go(len(self.shown) - 1)

    def grown(self) -> None:
        """The journal went on; who was at its end stays there."""
        at_end = self.chosen == len(self.shown) - 1
        position = self.step.position if self.shown else 0
        self._choose_from(position)
        if at_end:
            self.go_to_end()

    def _same(self, way: int) -> None:
        places = range(self.chosen + way, len(self.shown) if way > 0 else -1, way)
        resource = self.step.resource if self.shown else ""
        found = next((number for number in places if self.shown[number].resource == resource), None)
        if found is None:
            self.note = "nothing earlier of it" if way < 0 else "nothing later of it"
        else:
            self.chosen = found

    def _type(self, key: str) -> None:
        assert self.typing is not None
        if key == "enter":
            self.sought, self.typing = self.typing, None
            self._seek(1)
        elif key in ("escape", "quit"):
            self.typing = None
        elif key == "backspace":
            self.typing = self.typing[:-1]
        elif len(key) == 1:
            self.typing += key

    def _seek(self, way: int) -> None:
        wanted, count = self.sought.casefold(), len(self.shown)
        for distance in range(1, count + 1) if wanted else ():
            number = (self.chosen + way * distance) % count
            step = self.shown[number]
            if wanted in f"{step.position} {step.line.actor} {step.resource} {self._said(step)}".casefold():
                self.chosen = number
                return
        self.note = f"nothing matches {self.sought!r}" if wanted else "type / and what to search for"

    # ------------------------------------------------------------------ the screen

    @property
    def step(self) -> Step:
        return self.shown[self.chosen]

    def draw(self, width: int, height: int) -> list[Text]:
        """Exactly ``height`` lines, none wider than ``width``."""
        lines = [self._head(width)]
        if not self.shown:
            lines.append(Text("Nothing has happened yet.", "dim"))
        else:
            room = max(1, (height - 4) // 2)
            first = max(0, min(self.chosen - room // 2, len(self.shown) - room))
            lines += [self._row(number, width) for number in range(first, min(first + room, len(self.shown)))]
            lines += [Text()] * (room + 1 - len(lines))
            lines.append(Text(("─" if self.terminal.symbols else "-") * width, "dim"))
            lines += self._cut(self._below(width), max(0, height - len(lines) - 1))
        foot = Text(f"/{self.typing}█" if self.typing is not None else self.note or self._help, "dim")
        lines = [*lines, *[Text()] * (height - 1 - len(lines)), foot]
        return [line.cut(width) for line in lines[-height:]]

    @property
    def _help(self) -> str:
        return HELP if self.terminal.symbols else PLAIN_HELP

    def _head(self, width: int) -> Text:
        node = self.walk.node
        about = Text(f"{node.kind} {node.name}" if node.name != node.kind else node.kind, "bold")
        if self.life:
            about.append(f"  the life of {self._name(self.life) or self.life}", "cyan")
        number = f"{self.chosen + 1} of {len(self.shown)}" if self.shown else "empty"
        left_out = f", {self.walk.left_out} older left out" if self.walk.left_out and width > 80 else ""
        return about.append(f"  {number}{left_out}", "dim")

    def _row(self, number: int, width: int) -> Text:
        step = self.shown[number]
        is_chosen = number == self.chosen
        mark = (">" if not self.terminal.symbols else "▸") if is_chosen else " "
        when = words.moment(step.at, self.terminal.zone, narrow=width < 80)
        who = words.fitted(words.who(step.line.actor), WHO)
        row = Text(f"{mark}{step.position:>7}  {when}  ", "bold" if is_chosen else "dim").append(who, "cyan")
        return row.append(f"  {self._said(step)}", "bold" if is_chosen else "")

    def _said(self, step: Step) -> str:
        fact = step.fact
        return sentence(fact["event"], step.resource, {step.resource: self._name(step.resource, step)})

    def _name(self, resource: str, step: Step | None = None) -> str:
        """The last name it is known to have had: what ends it may not say it."""
        name = step.name if step is not None else ""
        if name:
            self._names[resource] = name
        return self._names.get(resource, "")

    def _below(self, width: int) -> list[Text]:
        step = self.step
        fact = step.fact
        lines = [
            Text(str(fact["event"]["type"]), "bold").append(f"  {step.resource}  version {fact['version']}", "dim"),
            Text(f"{words.exact(step.at, self.terminal.zone)}  by {words.who(step.line.actor)}", "dim"),
        ]
        why = [f"because of {fact['cause']}"] if fact["cause"] else []
        why += [f"command {fact['command_id']}"] if fact["command_id"] else []
        lines += [Text(", ".join(why), "dim")] if why else []
        lines.append(Text())
        for field, value in self._state(step) if self.whole_state else self._changes(step):
            folded = value.folded(max(20, width - 26))
            lines += [Text(f"  {field if not n else '':<22}  ", "dim").append(part) for n, part in enumerate(folded)]
        return lines

    def _cut(self, lines: list[Text], room: int) -> list[Text]:
        if len(lines) <= room:
            return lines
        return [
            *lines[: max(0, room - 1)],
            Text(f"  {len(lines) - room + 1} more lines; a taller window shows them", "dim"),
        ]

    def _state(self, step: Step) -> list[tuple[str, Text]]:
        if step.after is None:
            return [("", Text("It does not exist any more.", "dim"))]
        return self._said_fields(step.after)

    def _changes(self, step: Step) -> list[tuple[str, Text]]:
        if step.after is None:
            return [("", Text(f"The {kind_of(step.resource).replace('_', ' ')} is gone.", "red"))]
        if step.before is None:
            said = flat(step.after).items()
            return [
                (field, self._value(field, value)) for field, value in said if value not in ("", None, [], False, 0)
            ]
        found = [
            (field["field"], arrow(self.terminal, field["field"], field["from"], field["to"]))
            for field in changed_fields(step.before, step.after)
        ]
        return found or [("", Text("Nothing of its state changed.", "dim"))]

    def _said_fields(self, state: State) -> list[tuple[str, Text]]:
        """Of a whole state what is not empty."""
        said = flat(state).items()
        return [(field, self._value(field, value)) for field, value in said if value not in ("", None, [], False, 0)]

    def _value(self, field: str, value: object) -> Text:
        if field.rpartition(".")[2] in HIDDEN and value:
            return Text("(hidden)", "dim")
        return Text(shown(self.terminal, field, value))
