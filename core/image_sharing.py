"""What of the images is the cells' business: which files they may fetch or send, who may, and which they should keep.

A cell keeps what it has fetched, so that the next guest from the same image is made at once; it is told which images
there are when it is linked and whenever one goes, and removes the others.
"""

import logging

import anyio

from nano.core.image_store import ImageStore
from nano.core.uploads import Upload, UploadDesk
from nano.domain.cell import Cell
from nano.domain.errors import NanoError
from nano.domain.facts import Change
from nano.domain.image import Image
from nano.domain.zone import Zone
from nano.journal.feed import Feed
from nano.transports.bulk import BulkFile
from nano.transports.link import Link
from nano.transports.messages import KeepImages

log = logging.getLogger("nano.core")

TIMEOUT_S = 30.0
AGAIN_S = 30.0


class ImageSharing:
    def __init__(self, zone: Zone, feed: Feed, store: ImageStore, uploads: UploadDesk) -> None:
        self._zone = zone
        self._feed = feed
        self._store = store
        self._uploads = uploads

    def file_of(self, image_id: str) -> BulkFile | None:
        """What the image service gives under this id."""
        image = self._zone.get(f"image/{image_id}") or self._zone.get(f"media/{image_id}")
        if not isinstance(image, Image) or not image.ready:
            return None
        return BulkFile(self._store.path(image), image.size, image.sha256)

    def upload_of(self, image_id: str, fingerprint: str) -> Upload | None:
        """The upload of this id, when it is this cell that was asked for it. Raises Unknown(unknown_upload)."""
        upload = self._uploads.find(image_id)
        cell = self._zone.get(f"cell/{upload.sender}")
        return upload if isinstance(cell, Cell) and cell.fingerprint == fingerprint else None

    def may_fetch(self, fingerprint: str) -> bool:
        cells = (state for state in self._zone.of_kind("cell") if isinstance(state, Cell))
        return any(cell.pool and cell.fingerprint == fingerprint for cell in cells)

    async def keep_told(self, cell: str, link: Link) -> None:
        """Tell the cell which images there are, now and whenever that changes, as long as the link is there."""
        moved = anyio.Event()

        def on_changes(changes: list[Change]) -> None:
            if any(isinstance(change.before, Image) or isinstance(change.after, Image) for change in changes):
                moved.set()

        self._feed.add_listener(on_changes)
        try:
            while True:
                moved = anyio.Event()
                try:
                    await link.request(KeepImages(self._digests()), timeout_s=TIMEOUT_S)
                except NanoError as error:
                    if link.closed.is_set():
                        return
                    log.warning("images not told cell=%s code=%s", cell, error.code)
                    await anyio.sleep(AGAIN_S)
                else:
                    await moved.wait()
        finally:
            self._feed.remove_listener(on_changes)

    def _digests(self) -> tuple[str, ...]:
        every = (state for kind in ("image", "media") for state in self._zone.of_kind(kind))
        return tuple(sorted({image.sha256 for image in every if isinstance(image, Image) and image.ready}))
