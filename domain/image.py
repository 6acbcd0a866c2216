"""Disk image: a file on Core's machine that system disks are cloned from (feature M22; the image service grows later).

Registering is a task: the file is inspected in a restricted process and its digest taken before the image may be used.
"""

from datetime import datetime
from typing import Final, Literal

import msgspec

from nano.domain.errors import Conflict, Invalid, Unknown
from nano.domain.facts import Command, Context, Emitted, Event, Model, Rules
from nano.domain.limits import LIMITS
from nano.domain.naming import require_name
from nano.domain.task import Problem, Task, TaskEnded, TaskStarted, end_step, open_task

REGISTER_PLAN = ("inspect",)


class Image(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``size`` is the file's, ``virtual_size`` the disk's in it; ``sha256`` is of the file. All 0 or empty while inspected."""

    id: str
    name: str
    path: str
    created_at: datetime
    format: str = ""
    size: int = 0
    virtual_size: int = 0
    sha256: str = ""
    task: str = ""

    @property
    def ready(self) -> bool:
        return not self.task


class ImageRequested(Event, frozen=True, kw_only=True, tag="image.requested"):
    id: str
    name: str
    path: str
    task: str


class ImageRegistered(Event, frozen=True, kw_only=True, tag="image.registered"):
    format: str
    size: int
    virtual_size: int
    sha256: str


class ImageRefused(Event, frozen=True, tag="image.refused"):
    reason: str


class ImageForgotten(Event, frozen=True, tag="image.forgotten"):
    pass


class RegisterImage(Command, frozen=True, kw_only=True, tag="image.register"):
    """Make a qcow2 file on Core's machine known as a disk image; the file stays where it is."""

    name: str
    path: str


class ForgetImage(Command, frozen=True, kw_only=True, tag="image.forget"):
    """Forget a disk image; its file stays where it is."""

    image: str


class FinishRegister(Command, frozen=True, kw_only=True, tag="image.finish_register"):
    task: str
    format: Literal["qcow2", "raw"]
    size: int
    virtual_size: int
    sha256: str


class FailRegister(Command, frozen=True, kw_only=True, tag="image.fail_register"):
    task: str
    error: Problem
    cancelled: bool = False


def decide_register(model: Model, command: RegisterImage, context: Context) -> list[Emitted]:
    name = require_name(command.name, "image name", dotted=True)
    if not command.path.startswith("/") or "\0" in command.path or "\n" in command.path or len(command.path) > 4096:
        raise Invalid(
            "An image is registered by the absolute path of its file.",
            code="invalid_path",
            hint="Start with '/'.",
            field="path",
        )
    if any(isinstance(image, Image) and image.name == name for image in model.of_kind("image")):
        raise Conflict(f"An image {name!r} exists already.", code="duplicate_name", hint="Choose another name.")
    image_id, task_id = context.new_id(), context.new_id()
    started = TaskStarted(
        id=task_id,
        kind="image.register",
        target=f"image/{image_id}",
        target_name=name,
        actor=context.actor,
        command_id=context.command_id,
        plan=REGISTER_PLAN,
        deadline_at=context.at + LIMITS.image_deadline,
    )
    return [
        Emitted(f"image/{image_id}", ImageRequested(id=image_id, name=name, path=command.path, task=task_id)),
        Emitted(f"task/{task_id}", started),
    ]


def decide_finish_register(model: Model, command: FinishRegister, context: Context) -> list[Emitted]:
    task = open_task(model, command.task)
    registered = ImageRegistered(
        format=command.format, size=command.size, virtual_size=command.virtual_size, sha256=command.sha256
    )
    return [
        Emitted(task.resource, registered),
        *end_step(task, "inspect"),
        Emitted(f"task/{task.id}", TaskEnded("done")),
    ]


def decide_fail_register(model: Model, command: FailRegister, context: Context) -> list[Emitted]:
    task: Task = open_task(model, command.task)
    outcome: Literal["failed", "cancelled"] = "cancelled" if command.cancelled else "failed"
    return [
        Emitted(task.resource, ImageRefused(reason=command.error.message)),
        Emitted(f"task/{task.id}", TaskEnded(outcome, error=command.error, undone=("image name given back",))),
    ]


def find_image(model: Model, reference: str) -> Image:
    """By id or name. Raises Unknown(unknown_image)."""
    image = model.get(f"image/{reference}")
    if isinstance(image, Image):
        return image
    for candidate in model.of_kind("image"):
        if isinstance(candidate, Image) and candidate.name == reference:
            return candidate
    raise Unknown(f"There is no disk image {reference!r}.", code="unknown_image", hint="List images, or register one.")


def evolve_requested(state: Image | None, event: ImageRequested, at: datetime) -> Image:
    return Image(id=event.id, name=event.name, path=event.path, task=event.task, created_at=at)


def evolve_registered(state: Image, event: ImageRegistered, at: datetime) -> Image:
    return msgspec.structs.replace(
        state, format=event.format, size=event.size, virtual_size=event.virtual_size, sha256=event.sha256, task=""
    )


def evolve_refused(state: Image, event: ImageRefused, at: datetime) -> None:
    return None


def evolve_forgotten(state: Image, event: ImageForgotten, at: datetime) -> None:
    return None


RULES: Final = Rules(
    decide={
        RegisterImage: decide_register,
        FinishRegister: decide_finish_register,
        FailRegister: decide_fail_register,
    },
    evolve={
        ImageRequested: evolve_requested,
        ImageRegistered: evolve_registered,
        ImageRefused: evolve_refused,
        ImageForgotten: evolve_forgotten,
    },
    states={"image": Image},
)
