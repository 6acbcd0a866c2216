"""``nano-core``: the Core node as a program. Puts together what the rooms below offer: core, its API, its image service."""

import sys
from pathlib import Path

import anyio

from nano.tools.daemon import Ready, run_program

DESCRIPTION = "Core: forms compute pools of cells, places guests, serves the API."


async def serve(folder: Path, ready: Ready) -> None:
    """Run Core on its folder until cancelled. The API answers before cells are let in."""
    from nano.core.node import open_core, utc_now
    from nano.core.settings import load_settings
    from nano.http.app import make_app
    from nano.http.credentials import load_or_make_credentials
    from nano.http.server import run_server
    from nano.transports.node_files import endpoint

    settings = load_settings(folder / "config")
    credentials = load_or_make_credentials(folder / "config")
    listen = settings.listen
    api = f"http://{listen.host}:{listen.api_port}"
    async with open_core(folder, settings) as node, anyio.create_task_group() as tasks:
        app = make_app(node.core, credentials, clock=utc_now)
        await tasks.start(run_server, app, listen.host, listen.api_port)
        if settings.metrics.port:
            from nano.http.metrics_page import serve_metrics  # its library is wanted by few

            tasks.start_soon(serve_metrics, settings.metrics, app.metrics)
        await tasks.start(node.serve_images)
        await tasks.start(node.open_to_cells, api)
        with endpoint(folder, api=api):
            ready(f"the API answers at {api}")
            await anyio.sleep_forever()


def main() -> None:
    sys.exit(run_program("nano-core", DESCRIPTION, serve))


if __name__ == "__main__":
    main()
