"""``python -m nano.tools.up up|down``: what ``scripts/up`` and ``scripts/down`` call once the machine is set up."""

import sys
from typing import Final

import anyio
from rich.console import Console

from nano.domain.errors import NanoError
from nano.tools.daemon import leaves
from nano.tools.up import bring_up, options, take_down

WIDTH: Final = 120  # of what is written into a file or a pipe: an address must not be folded


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    console = Console(stderr=True)
    try:
        given = options.parse(argv)
        options.become_root(given, argv)
        told = console if given.json else Console()
        if not told.is_terminal:
            told.width = WIDTH
        if given.verb == "down":
            return take_down.run(given, told)
        return anyio.run(bring_up.run, given, told)
    except* NanoError as group:
        for error in leaves(group):
            assert isinstance(error, NanoError)
            console.print(f"[red]error:[/] {error.message}", highlight=False, soft_wrap=True)
            if error.hint:
                console.print(f"       {error.hint}", highlight=False, soft_wrap=True)
    except* KeyboardInterrupt:
        console.print("Interrupted.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
