"""Static files: read once, named by one digest of the whole tree, so that browsers may keep them for ever.

    /static/<digest>/nano.css          every sheet of css/ in order of name, then those of vendor/, joined
    /static/<digest>/js/main.js        files as they lie in ui/static; relative imports between them work
The digest changes with any byte, so a page never mixes old scripts with new. Other digests answer too (a page that was
open while FrontEnd was updated), but are not to be kept. Compressed copies are made at first use.
"""

import gzip
import hashlib
import json
import mimetypes
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nano.domain.errors import Failure

ROOT: Final = Path(__file__).parent / "static"
SHEET: Final = "nano.css"
KINDS: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
GZIP_BYTES_MIN: Final = 1024


class Statics:
    """Raises Failure(static_missing) when a vendored file is not where the manifest says: pages would be dead without a word."""

    def __init__(self, root: Path = ROOT) -> None:
        _require_vendored(root / "vendor")
        self._files = {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and "css" not in path.relative_to(root).parts[:1]
        }
        sheets = [*sorted((root / "css").glob("*.css")), *sorted((root / "vendor").glob("*/dist/*.css"))]
        self._files[SHEET] = b"\n".join(path.read_bytes() for path in sheets)
        whole = hashlib.sha256()
        for name, data in self._files.items():
            whole.update(f"{name}:{hashlib.sha256(data).hexdigest()}\n".encode())
        self.digest = whole.hexdigest()[:10]
        self._zipped: dict[str, bytes] = {}

    def url(self, name: str) -> str:
        """Raises KeyError for a file that is not there: a wrong name in a template must not pass."""
        if name not in self._files:
            raise KeyError(f"there is no static file {name}")
        return f"/static/{self.digest}/{name}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        digest, _, name = scope["path"].removeprefix("/static/").partition("/")
        data = self._files.get(name)
        if data is None or scope["method"] not in ("GET", "HEAD"):
            await Response("There is no such file.", 404, media_type="text/plain")(scope, receive, send)
            return
        headers = Headers(scope=scope)
        known = digest == self.digest
        answer = {
            "cache-control": "public, max-age=31536000, immutable" if known else "no-cache",
            "etag": f'"{self.digest}"',
            "vary": "accept-encoding",
            "content-type": _kind(name),
        }
        if headers.get("if-none-match") == answer["etag"]:
            await Response(status_code=304, headers=answer)(scope, receive, send)
            return
        if "gzip" in headers.get("accept-encoding", "") and len(data) >= GZIP_BYTES_MIN:
            if name not in self._zipped:
                self._zipped[name] = gzip.compress(data, 6)
            data = self._zipped[name]
            answer["content-encoding"] = "gzip"
        await Response(data, headers=answer)(scope, receive, send)


def _require_vendored(vendor: Path) -> None:
    packages = json.loads((vendor / "manifest.json").read_bytes())["packages"]
    named = [vendor / package["folder"] / name for package in packages.values() for name in package["files"]]
    if missing := [path for path in named if not path.is_file()]:
        raise Failure(
            f"{len(missing)} of the portal's {len(named)} vendored files are missing, first {missing[0]}.",
            code="static_missing",
            hint="Install Nano again; in a clone, run ./scripts/vendor.",
        )


def _kind(name: str) -> str:
    suffix = Path(name).suffix
    return KINDS.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")
