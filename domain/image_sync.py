"""Images from a folder on Core's machine: whoever administers it drops files there, and asks to have them taken in (M40, M41).

A sync is one task with an item for each file that lay there, and for each image whose file is gone. What is taken in is
uploaded by a task of its own, whose bytes come from the file (``arguments``: ``file``, and ``mark``, which says that it still
is the same one); so it is checked like any upload. A file leaves the folder when its image is there, and not before; one
that is refused stays, and its item says why.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from nano.domain.errors import Conflict
from nano.domain.facts import Command, Context, Emitted, Event, Rules
from nano.domain.image_commands import UploadImage, UploadMedia, upload_events
from nano.domain.limits import LIMITS
from nano.domain.naming import NAME_LENGTH_MAX
from nano.domain.task import Item, Problem, Task, TaskEnded, TaskStarted, TaskStepStarted, end_step, open_task
from nano.domain.task_items import ItemEnd, TaskItemsEnded, TaskItemStarted

if TYPE_CHECKING:
    from nano.domain.zone import Zone

TAKE_IN: Final = "take in files"
FILE, MARK = "file", "mark"  # arguments of an upload whose bytes come from the folder
Format = Literal["qcow2", "raw", "iso"]


class SyncImages(Command, frozen=True, tag="image.sync"):
    """Make images of the files in Core's intake folder, disk images and media; each is told for itself."""


class ListFiles(Command, frozen=True, kw_only=True, tag="image.list_files"):
    """A task's word: this is what lies there; ``ended`` are those that were refused at first sight."""

    task: str
    names: tuple[str, ...]
    ended: tuple[ItemEnd, ...] = ()


class TakeFile(Command, frozen=True, kw_only=True, tag="image.take_file"):
    """A task's word: begin the upload of one of the files."""

    task: str
    number: int
    size: int
    format: Format
    mark: str


class EndSync(Command, frozen=True, tag="image.end_sync"):
    """Every item has ended."""

    task: str


class TaskFilesListed(Event, frozen=True, tag="task.files_listed"):
    names: tuple[str, ...]


def image_name(file: str) -> str:
    """What the image of a file is called: as the file is, without its ending and with what names may not have as "_"."""
    stem = file.rpartition(".")[0]
    fit = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_.-") else "_" for letter in stem)
    return fit[:NAME_LENGTH_MAX]


def decide_sync(zone: "Zone", command: SyncImages, context: Context) -> list[Emitted]:
    running = next((task for task in zone.open_tasks.values() if task.kind == "image.sync"), None)
    if running is not None:
        raise Conflict(
            "The files of the intake folder are being taken in already.",
            code="sync_running",
            hint="Wait for that task to end, or cancel it.",
            task=running.id,
        )
    task_id = context.new_id()
    resource = f"task/{task_id}"
    started = TaskStarted(
        id=task_id,
        kind="image.sync",
        target=resource,
        target_name="intake",
        actor=context.actor,
        command_id=context.command_id,
        plan=(TAKE_IN,),
        deadline_at=context.at + LIMITS.upload_deadline,
    )
    return [Emitted(resource, started), Emitted(resource, TaskStepStarted(TAKE_IN))]


def decide_list(zone: "Zone", command: ListFiles, context: Context) -> list[Emitted]:
    resource = f"task/{open_task(zone, command.task).id}"
    listed = [Emitted(resource, TaskFilesListed(command.names))]
    return [*listed, Emitted(resource, TaskItemsEnded(command.ended))] if command.ended else listed


def decide_take(zone: "Zone", command: TakeFile, context: Context) -> list[Emitted]:
    """As the upload of it, by whoever asked for the sync. Raises what that raises."""
    task = open_task(zone, command.task)
    item = task.items[command.number]
    if item.state != "waiting":
        return []
    upload: UploadImage | UploadMedia
    if command.format == "iso":
        upload = UploadMedia(name=image_name(item.name), size=command.size)
    else:
        upload = UploadImage(name=image_name(item.name), size=command.size, format=command.format)
    own = msgspec.structs.replace(context, actor=task.actor)
    emitted = upload_events(zone, upload, own, {FILE: item.name, MARK: command.mark})
    begun = next(event.id for _, event in emitted if isinstance(event, TaskStarted))
    return [Emitted(f"task/{task.id}", TaskItemStarted(number=command.number, guest="", task=begun)), *emitted]


def decide_end(zone: "Zone", command: EndSync, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    steps = end_step(task, TAKE_IN)
    missed = [item for item in task.items if item.state != "done"]
    if not missed:
        return [*steps, Emitted(f"task/{task.id}", TaskEnded("done"))]
    why = next((f" {item.name}: {item.error.message}" for item in missed if item.error is not None), "")
    problem = Problem(
        "sync_incomplete",
        f"{len(missed)} of {len(task.items)} files are no images.{why}",
        "Each item says why; what was refused is still in the folder.",
    )
    return [Emitted(f"task/{task.id}", TaskEnded("failed", error=problem))]


def evolve_listed(state: Task, event: TaskFilesListed, at: "datetime") -> Task:
    return msgspec.structs.replace(state, items=tuple([Item(name) for name in event.names]))


RULES: Final = Rules(
    decide={SyncImages: decide_sync, ListFiles: decide_list, TakeFile: decide_take, EndSync: decide_end},
    evolve={TaskFilesListed: evolve_listed},
)
