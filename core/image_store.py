"""ImageStore: Core's own folder of image files, named by the image's id; nothing else is in it.

``<id>.qcow2`` and ``<id>.iso`` are images, ``<id>.raw`` an upload that is to be converted; a name that goes on after that is of
a file not yet whole. What belongs to no image is removed at start, so a crash between a fact and its file costs nothing.
"""

import logging
from collections.abc import Collection as Several
from pathlib import Path
from typing import Final

from nano.domain.image import Image
from nano.domain.zone import Zone

log = logging.getLogger("nano.core")

MADE: Final = ".made"  # being converted


class ImageStore:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, image: Image) -> Path:
        """The image's file, or what it will be."""
        if not image.kept:
            return Path(image.path)
        return self.folder / f"{image.id}.{'iso' if 'iso' in (image.format, image.stated) else 'qcow2'}"

    def incoming(self, image: Image) -> Path:
        """What is uploaded, as it comes."""
        return self.folder / f"{image.id}.{image.stated or 'qcow2'}"

    def sweep(self, known: Several[str]) -> None:
        """Remove what belongs to none of these images. Blocking."""
        for entry in self._entries("*"):
            if entry.name.partition(".")[0] not in known:
                log.info("file of no image removed name=%s", entry.name)
                entry.unlink(missing_ok=True)

    def remove(self, image_id: str) -> None:
        """Every file of this image. Blocking."""
        for entry in self._entries(f"{image_id}.*"):
            entry.unlink(missing_ok=True)

    def _entries(self, pattern: str) -> list[Path]:
        return [entry for entry in self.folder.glob(pattern) if entry.is_file()] if self.folder.is_dir() else []


def kept_ids(zone: Zone) -> set[str]:
    """Of the images whose files are in Core's folder."""
    every = (state for kind in ("image", "media") for state in zone.of_kind(kind))
    return {image.id for image in every if isinstance(image, Image) and image.kept}
