"""Images: files on Core's machine. Disk images are what system disks are cloned from (feature M22), media images what is put
into a guest's drive (M24). Both are the same kind of thing in two collections, ``image`` and ``media``.

An image comes by registering a file that stays where it is, by upload, or from a stopped guest's disk (``image_commands``).
Whichever way, a task owns it until its file has been inspected and its digest taken; before that nothing may use it.
"""

from datetime import datetime
from typing import Final, Literal

import msgspec

from nano.domain.errors import Conflict, Unknown
from nano.domain.facts import Event, Model, Rules

Collection = Literal["image", "media"]
WORDS: Final[dict[str, str]] = {"image": "disk image", "media": "media image"}


class Image(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``size`` is the file's, ``virtual_size`` the disk's in it; ``sha256`` is of the file. All 0 or empty until inspected.

    ``kept``: the file is in Core's own folder and goes with the image. ``wanted``: bytes an upload is to bring, ``stated``
    the format they are in, ``claimed`` the digest that the sender gave when all were sent.
    """

    id: str
    name: str
    path: str
    created_at: datetime
    format: str = ""
    size: int = 0
    virtual_size: int = 0
    sha256: str = ""
    task: str = ""
    kept: bool = False
    owner: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    wanted: int = 0
    stated: str = ""
    claimed: str = ""

    @property
    def ready(self) -> bool:
        return not self.task


class ImageRequested(Event, frozen=True, kw_only=True, tag="image.requested"):
    """``path`` of a file that stays where it is; empty = its file is made in Core's folder, by an upload of ``size`` bytes
    or from the disk of ``guest``."""

    id: str
    name: str
    path: str
    task: str
    owner: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    size: int = 0
    format: str = ""
    guest: str = ""


class ImageReceived(Event, frozen=True, tag="image.received"):
    """Its sender says that all of it was sent, and what its digest is."""

    sha256: str


class ImageRegistered(Event, frozen=True, kw_only=True, tag="image.registered"):
    format: str
    size: int
    virtual_size: int
    sha256: str


class ImageRefused(Event, frozen=True, tag="image.refused"):
    reason: str


class ImageEdited(Event, frozen=True, kw_only=True, tag="image.edited"):
    """This is what it is called, and what is said of it, from now on."""

    name: str
    description: str = ""
    tags: tuple[str, ...] = ()


class ImageForgotten(Event, frozen=True, tag="image.forgotten"):
    """No longer known; its file stays where it is."""


class ImageDeleted(Event, frozen=True, tag="image.deleted"):
    """Gone with its file, which was Core's own."""


def find_image(model: Model, reference: str, collection: Collection = "image") -> Image:
    """By id or name. Raises Unknown (unknown_image, unknown_media)."""
    image = model.get(f"{collection}/{reference}")
    found = image if isinstance(image, Image) else _named(model, reference, collection)
    if found is None:
        raise Unknown(
            f"There is no {WORDS[collection]} {reference!r}.",
            code=f"unknown_{collection}",
            hint="List them, or upload one.",
        )
    return found


def require_ready(image: Image) -> Image:
    """The image itself. Raises Conflict(image_not_ready)."""
    if not image.ready:
        raise Conflict(
            f"Image {image.name} is not ready yet.",
            code="image_not_ready",
            hint="Wait for its task to end, or cancel that task.",
            task=image.task,
        )
    return image


def require_free_name(model: Model, name: str, collection: Collection) -> None:
    """Raises Conflict(duplicate_name)."""
    if _named(model, name, collection) is not None:
        word = WORDS[collection]
        raise Conflict(f"A {word} {name!r} exists already.", code="duplicate_name", hint="Choose another name.")


def _named(model: Model, name: str, collection: Collection) -> Image | None:
    every = (image for image in model.of_kind(collection) if isinstance(image, Image))
    return next((image for image in every if image.name == name), None)


def evolve_requested(state: Image | None, event: ImageRequested, at: datetime) -> Image:
    return Image(
        id=event.id,
        name=event.name,
        path=event.path,
        task=event.task,
        created_at=at,
        kept=not event.path,
        owner=event.owner,
        description=event.description,
        tags=event.tags,
        wanted=event.size,
        stated=event.format,
    )


def evolve_received(state: Image, event: ImageReceived, at: datetime) -> Image:
    return msgspec.structs.replace(state, claimed=event.sha256)


def evolve_registered(state: Image, event: ImageRegistered, at: datetime) -> Image:
    return msgspec.structs.replace(
        state,
        format=event.format,
        size=event.size,
        virtual_size=event.virtual_size,
        sha256=event.sha256,
        task="",
        wanted=0,
        stated="",
        claimed="",
    )


def evolve_edited(state: Image, event: ImageEdited, at: datetime) -> Image:
    return msgspec.structs.replace(state, name=event.name, description=event.description, tags=event.tags)


def evolve_gone(state: Image, event: ImageRefused | ImageForgotten | ImageDeleted, at: datetime) -> None:
    return None


RULES: Final = Rules(
    decide={},
    evolve={
        ImageRequested: evolve_requested,
        ImageReceived: evolve_received,
        ImageRegistered: evolve_registered,
        ImageRefused: evolve_gone,
        ImageEdited: evolve_edited,
        ImageForgotten: evolve_gone,
        ImageDeleted: evolve_gone,
    },
    states={"image": Image, "media": Image},
)
