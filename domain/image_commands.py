"""What may be asked of images, and the decisions: register, upload, build from a guest, edit, delete (features M22, M24).

Bytes are no facts: how much of an upload has arrived is known by the length of its file. What is journaled is that one was
begun (its name is taken from then on), the digest its sender gave, and what inspection found. An upload that fails, is
cancelled or left alone gives its name and its room back.
"""

import re
from typing import TYPE_CHECKING, Final, Literal

from nano.domain.errors import Conflict, Invalid
from nano.domain.facts import Command, Context, Emitted, Event, Rules
from nano.domain.guest import GuestWorkEnded, GuestWorkStarted
from nano.domain.guest_about import DESCRIPTION_MAX, require_tags
from nano.domain.guest_hold import open_events, require_at_rest, require_power
from nano.domain.image import (
    WORDS,
    Collection,
    Image,
    ImageDeleted,
    ImageEdited,
    ImageForgotten,
    ImageReceived,
    ImageRefused,
    ImageRegistered,
    ImageRequested,
    find_image,
    require_free_name,
    require_ready,
)
from nano.domain.limits import LIMITS
from nano.domain.machine import DISK_MAX
from nano.domain.naming import format_size, require_name, require_text
from nano.domain.task import Problem, TaskEnded, TaskStarted, end_step, open_task

if TYPE_CHECKING:
    from datetime import timedelta

    from nano.domain.zone import Zone

RECEIVE, INSPECT, SEND = "receive", "inspect", "send disk"
REGISTER_PLAN: Final = (INSPECT,)
UPLOAD_PLAN: Final = (RECEIVE, INSPECT)
BUILD_PLAN: Final = (SEND, INSPECT)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class RegisterImage(Command, frozen=True, kw_only=True, tag="image.register"):
    """Make a qcow2 file on Core's machine known as a disk image; the file stays where it is."""

    name: str
    path: str


class UploadImage(Command, frozen=True, kw_only=True, tag="image.upload"):
    """Begin the upload of a disk image of ``size`` bytes; a raw one is kept as qcow2."""

    name: str
    size: int
    format: Literal["qcow2", "raw"] = "qcow2"
    description: str = ""
    tags: tuple[str, ...] = ()


class UploadMedia(Command, frozen=True, kw_only=True, tag="media.upload"):
    """Begin the upload of a media image (ISO 9660 or UDF) of ``size`` bytes."""

    name: str
    size: int
    description: str = ""
    tags: tuple[str, ...] = ()


class FinishImageUpload(Command, frozen=True, kw_only=True, tag="image.finish_upload"):
    """Say that all bytes of a disk image were sent, and their digest."""

    image: str
    sha256: str


class FinishMediaUpload(Command, frozen=True, kw_only=True, tag="media.finish_upload"):
    """Say that all bytes of a media image were sent, and their digest."""

    media: str
    sha256: str


class BuildImage(Command, frozen=True, kw_only=True, tag="image.build"):
    """Make a disk image of the system disk of a guest that is stopped."""

    name: str
    guest: str
    description: str = ""
    tags: tuple[str, ...] = ()


class EditImage(Command, frozen=True, kw_only=True, tag="image.edit"):
    """Give a disk image another name, description or tags. What is not given stays."""

    image: str
    name: str | None = None
    description: str | None = None
    tags: tuple[str, ...] | None = None


class EditMedia(Command, frozen=True, kw_only=True, tag="media.edit"):
    """Give a media image another name, description or tags. What is not given stays."""

    media: str
    name: str | None = None
    description: str | None = None
    tags: tuple[str, ...] | None = None


class DeleteImage(Command, frozen=True, kw_only=True, tag="image.delete"):
    """Delete a disk image that nothing uses; a registered file stays where it is."""

    image: str


class DeleteMedia(Command, frozen=True, kw_only=True, tag="media.delete"):
    """Delete a media image that is in no guest's drive."""

    media: str


class EndImage(Command, frozen=True, kw_only=True, tag="image.end"):
    """A task's word: this is what was found, the image is ready."""

    task: str
    format: Literal["qcow2", "raw", "iso"]
    size: int
    virtual_size: int
    sha256: str


class AbandonImage(Command, frozen=True, kw_only=True, tag="image.abandon"):
    """A task's word: there will be no such image."""

    task: str
    error: Problem
    undone: tuple[str, ...] = ("image name given back",)
    cancelled: bool = False


def decide_register(zone: "Zone", command: RegisterImage, context: Context) -> list[Emitted]:
    name = _new_name(zone, command.name, "image")
    if not command.path.startswith("/") or "\0" in command.path or "\n" in command.path or len(command.path) > 4096:
        raise Invalid(
            "An image is registered by the absolute path of its file.",
            code="invalid_path",
            hint="Start with '/'.",
            field="path",
        )
    image_id, task_id = context.new_id(), context.new_id()
    requested = ImageRequested(id=image_id, name=name, path=command.path, task=task_id, owner=context.actor)
    return _begin(context, requested, "image", "register", REGISTER_PLAN, LIMITS.image_deadline)


def decide_upload(zone: "Zone", command: UploadImage | UploadMedia, context: Context) -> list[Emitted]:
    return upload_events(zone, command, context, {})


def upload_events(
    zone: "Zone", command: UploadImage | UploadMedia, context: Context, arguments: dict[str, str]
) -> list[Emitted]:
    """``arguments`` of its task: where its bytes come from, when not from a person."""
    collection: Collection = "image" if isinstance(command, UploadImage) else "media"
    name = _new_name(zone, command.name, collection)
    if not 0 < command.size <= DISK_MAX:
        raise Invalid(
            f"An upload of {command.size} bytes is not taken.",
            code="invalid_size",
            hint=f"Use 1 byte to {format_size(DISK_MAX)}.",
            field="size",
        )
    _require_room(zone, command.size)
    image_id, task_id = context.new_id(), context.new_id()
    requested = ImageRequested(
        id=image_id,
        name=name,
        path="",
        task=task_id,
        owner=context.actor,
        description=_description(command.description),
        tags=require_tags(command.tags),
        size=command.size,
        format=command.format if isinstance(command, UploadImage) else "iso",
    )
    return _begin(context, requested, collection, "upload", UPLOAD_PLAN, LIMITS.upload_deadline, arguments)


def decide_finish_upload(
    zone: "Zone", command: FinishImageUpload | FinishMediaUpload, context: Context
) -> list[Emitted]:
    collection, image = _addressed(zone, command)
    if not _SHA256.fullmatch(command.sha256):
        raise Invalid(
            "That is no SHA-256 digest.", code="invalid_digest", hint="Write its 64 hexadecimal digits, in lower case."
        )
    if not image.wanted or image.claimed:
        raise Conflict(
            f"No upload of {image.name} waits for its end.",
            code="upload_not_open",
            hint="Look at its task.",
            task=image.task,
        )
    return [Emitted(f"{collection}/{image.id}", ImageReceived(command.sha256))]


def decide_build(zone: "Zone", command: BuildImage, context: Context) -> list[Emitted]:
    name = _new_name(zone, command.name, "image")
    guest = zone.find_guest(command.guest)
    require_at_rest(zone, guest)
    require_power(guest, ("stopped", "crashed"), "copied")
    _require_room(zone, 0)
    image_id, task_id = context.new_id(), context.new_id()
    requested = ImageRequested(
        id=image_id,
        name=name,
        path="",
        task=task_id,
        owner=context.actor,
        description=_description(command.description),
        tags=require_tags(command.tags),
        guest=guest.id,
    )
    began = _begin(context, requested, "image", "build", BUILD_PLAN, LIMITS.build_deadline, {"guest": guest.id})
    return [Emitted(f"guest/{guest.id}", GuestWorkStarted("build_image", task_id)), *began]


def decide_edit(zone: "Zone", command: EditImage | EditMedia, context: Context) -> list[Emitted]:
    collection, image = _addressed(zone, command)
    name, description, tags = image.name, image.description, image.tags
    if command.name is not None and command.name != name:
        name = _new_name(zone, command.name, collection)
    if command.description is not None:
        description = _description(command.description)
    if command.tags is not None:
        tags = require_tags(command.tags)
    if (name, description, tags) == (image.name, image.description, image.tags):
        return []
    return [Emitted(f"{collection}/{image.id}", ImageEdited(name=name, description=description, tags=tags))]


def decide_delete(zone: "Zone", command: DeleteImage | DeleteMedia, context: Context) -> list[Emitted]:
    collection, image = _addressed(zone, command)
    require_ready(image)
    users = users_of(zone, collection, image)
    if users:
        shown = ", ".join(users[:5]) + (" and others" if len(users) > 5 else "")
        raise Conflict(
            f"{WORDS[collection].capitalize()} {image.name} is in use by {shown}.",
            code=f"{collection}_in_use",
            hint="Wait for these guests to be made; delete, reset or eject those that lean on it.",
            guests=users,
        )
    event: Event = ImageDeleted() if image.kept else ImageForgotten()
    return [Emitted(f"{collection}/{image.id}", event)]


def users_of(zone: "Zone", collection: Collection, image: Image) -> list[str]:
    """Names of the guests that could not do without the image now: being cloned from it, linked to it, in their drive."""
    if collection == "media":
        users = [guest.name for guest in zone.guests() if guest.spec.media == image.id]
    else:
        mine = (guest for guest in zone.guests() if guest.spec.image == image.id)
        users = [guest.name for guest in mine if guest.phase == "creating" or guest.spec.linked]
    tasks = (task for task in zone.open_tasks.values() if task.arguments.get(collection) == image.id)
    return list(dict.fromkeys([*users, *(task.resource_name for task in tasks)]))


def decide_end(zone: "Zone", command: EndImage, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    registered = ImageRegistered(
        format=command.format, size=command.size, virtual_size=command.virtual_size, sha256=command.sha256
    )
    return [
        Emitted(task.resource, registered),
        *(event for name in task.plan for event in end_step(task, name)),
        *_let_go(zone, task.arguments, task.id, ""),
        Emitted(f"task/{task.id}", TaskEnded("done")),
    ]


def decide_abandon(zone: "Zone", command: AbandonImage, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    outcome: Literal["failed", "cancelled"] = "cancelled" if command.cancelled else "failed"
    return [
        Emitted(task.resource, ImageRefused(reason=command.error.message)),
        *_let_go(zone, task.arguments, task.id, command.error.message),
        Emitted(f"task/{task.id}", TaskEnded(outcome, error=command.error, undone=command.undone)),
    ]


def _let_go(zone: "Zone", arguments: dict[str, str], task_id: str, error: str) -> list[Emitted]:
    """The guest whose disk was copied is free again."""
    guest = f"guest/{arguments.get('guest', '')}"
    return [Emitted(guest, GuestWorkEnded(task_id, error=error))] if zone.get(guest) is not None else []


def _addressed(
    zone: "Zone",
    command: FinishImageUpload | FinishMediaUpload | EditImage | EditMedia | DeleteImage | DeleteMedia,
) -> tuple[Collection, Image]:
    if isinstance(command, FinishMediaUpload | EditMedia | DeleteMedia):
        return "media", find_image(zone, command.media, "media")
    return "image", find_image(zone, command.image)


def _begin(
    context: Context,
    requested: ImageRequested,
    collection: Collection,
    action: str,
    plan: tuple[str, ...],
    limit: "timedelta",
    arguments: dict[str, str] | None = None,
) -> list[Emitted]:
    resource = f"{collection}/{requested.id}"
    started = TaskStarted(
        id=requested.task,
        kind=f"{collection}.{action}",
        target=resource,
        target_name=requested.name,
        actor=context.actor,
        command_id=context.command_id,
        plan=plan,
        deadline_at=context.at + limit,
        arguments=arguments or {},
    )
    return [Emitted(resource, requested), *open_events(started)]


def _new_name(zone: "Zone", name: str, collection: Collection) -> str:
    require_name(name, "image name", dotted=True)
    require_free_name(zone, name, collection)
    return name


def _description(text: str) -> str:
    return require_text(text.strip(), "description", DESCRIPTION_MAX)


def _require_room(zone: "Zone", size: int) -> None:
    """Raises Conflict (image_quota, too_many_uploads): what Core's folder may hold is bounded, and what is under way."""
    every = [
        image for kind in ("image", "media") for image in zone.of_kind(kind) if isinstance(image, Image) and image.kept
    ]
    if sum(bool(image.task) for image in every) >= zone.limits.uploads_max:
        raise Conflict(
            f"{zone.limits.uploads_max} images are being made already.",
            code="too_many_uploads",
            hint="Finish or cancel one of their tasks.",
        )
    taken, quota = sum(image.size or image.wanted for image in every), zone.limits.images_quota
    if quota and taken + size > quota:
        raise Conflict(
            f"Core keeps {format_size(taken)} of images and may keep {format_size(quota)}.",
            code="image_quota",
            hint="Delete images that nobody needs, or raise the quota in core.toml.",
            taken=taken,
            quota=quota,
        )


RULES: Final = Rules(
    decide={
        RegisterImage: decide_register,
        UploadImage: decide_upload,
        UploadMedia: decide_upload,
        FinishImageUpload: decide_finish_upload,
        FinishMediaUpload: decide_finish_upload,
        BuildImage: decide_build,
        EditImage: decide_edit,
        EditMedia: decide_edit,
        DeleteImage: decide_delete,
        DeleteMedia: decide_delete,
        EndImage: decide_end,
        AbandonImage: decide_abandon,
    },
    evolve={},
)
