"""``python -m nano.tools.guest_image OUT.qcow2``: the tiny guest image, built or taken from the cache."""

import argparse
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from nano.domain.errors import NanoError
from nano.domain.naming import format_size
from nano.tools.guest_image.builder import cache_folder, ensure_image


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m nano.tools.guest_image", description=__doc__)
    parser.add_argument("output", type=Path, metavar="OUT.qcow2")
    parser.add_argument(
        "--cache", type=Path, default=cache_folder(), help="where packages and images are kept (%(default)s)"
    )
    options = parser.parse_args(argv)
    console = Console(stderr=True)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True)
    try:
        with bar:
            task = bar.add_task("Tiny guest image", total=None)
            image = ensure_image(
                options.cache,
                lambda text, done, of: bar.update(task, description=text, completed=done, total=of),
                check_packages=True,
            )
        temporary = options.output.with_name(options.output.name + ".new")
        shutil.copyfile(image, temporary)
        temporary.rename(options.output)
    except (NanoError, OSError) as error:
        console.print(f"[red]error:[/] {error}")
        return 1
    console.print(f"{options.output} ({format_size(options.output.stat().st_size)}) from {image.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
