"""What the fake Core shows of an image: a row with nothing in it but what is told."""

from typing import Any, Final

_NOTHING: Final[dict[str, Any]] = {
    "format": "",
    "size": 0,
    "virtual_size": 0,
    "sha256": "",
    "kept": False,
    "wanted": 0,
    "owner": "admin",
    "description": "",
    "tags": [],
    "task": "",
    "version": 1,
}


def image_row(name: str, **told: Any) -> dict[str, Any]:
    return {**_NOTHING, "name": name, **told}
