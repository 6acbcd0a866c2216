"""ImageStore: Core's own folder of image files, named by the image's id; nothing else is in it.

``<id>.qcow2`` and ``<id>.iso`` are images, ``<id>.raw`` an upload that is to be converted; a name that goes on after that is of
a file not yet whole. What belongs to no image is removed at start, so a crash between a fact and its file costs nothing.
"""

import logging
from collections.abc import Callable
from collections.abc import Collection as Several
from contextlib import suppress
from pathlib import Path

from nano.domain.image import Image
from nano.domain.zone import Zone
from nano.journal.disk import Disk, RealDisk

log = logging.getLogger("nano.core")


class ImageStore:
    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.folder = folder
        self._disk: Disk = disk or RealDisk()

    def path(self, image: Image) -> Path:
        """The image's file, or what it will be."""
        if not image.kept:
            return Path(image.path)
        return self.folder / f"{image.id}.{'iso' if 'iso' in (image.format, image.stated) else 'qcow2'}"

    def incoming(self, image: Image) -> Path:
        """What is uploaded, as it comes."""
        return self.folder / f"{image.id}.{image.stated or 'qcow2'}"

    def exists(self, path: Path) -> bool:
        """Whether the file is there, and can be looked at. Blocking."""
        try:
            self._disk.size(path)
        except OSError:
            return False
        return True

    def sweep(self, known: Several[str]) -> None:
        """Remove what belongs to none of these images. Blocking; what the disk does not let go stays until the next start."""
        self._remove(lambda image_id: image_id not in known)

    def remove(self, image_id: str) -> None:
        """Every file of this image. Blocking, as ``sweep``."""
        self._remove(lambda one: one == image_id)

    def drop(self, path: Path) -> None:
        """One file. Blocking, as ``sweep``."""
        try:
            with suppress(FileNotFoundError):
                self._disk.remove(path)
        except OSError as error:
            log.warning("file of no image stays until the next start name=%s error=%s", path.name, error.strerror)

    def _remove(self, which: Callable[[str], bool]) -> None:
        try:
            names = self._disk.list(self.folder)
        except OSError as error:
            log.warning("folder of images not read path=%s error=%s", self.folder, error.strerror)
            return
        for name in names:
            if which(name.partition(".")[0]):
                log.info("file of no image removed name=%s", name)
                self.drop(self.folder / name)


def kept_ids(zone: Zone) -> set[str]:
    """Of the images whose files are in Core's folder."""
    every = (state for kind in ("image", "media") for state in zone.of_kind(kind))
    return {image.id for image in every if isinstance(image, Image) and image.kept}
