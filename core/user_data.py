"""Extra user-data is read as YAML before anything is decided: a guest drops a cloud-config that is none without a word.

Events alone are looked at, nothing is built of them, so neither aliases nor merges of a hostile text cost more than its
length; depth is bounded, as it costs the parser its square. What a key means is cloud-init's affair, and differs from version
to version. Nothing of the text is in an error, as it may hold secrets: only the line is.
"""

from typing import Final, NoReturn

import yaml

from nano.domain.errors import Invalid

CLOUD_CONFIG: Final = "#cloud-config"
DEPTH_MAX: Final = 64
# What cloud-init's own loader knows; another tag makes it refuse the whole text.
_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "binary", "timestamp", "str", "seq", "map")
)


def check_cloud_config(text: str) -> None:
    """One mapping, or nothing. A script is not looked into. Raises Invalid(invalid_user_data)."""
    if not text.startswith(CLOUD_CONFIG):
        return
    try:
        _check(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        _refuse(mark.line + 1 if mark else 1, "is where it stops being YAML")


def _check(text: str) -> None:
    documents = 0
    anchors: set[str] = set()
    keys: list[bool | None] = []  # of each open collection: is a key next? None in a sequence
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                _refuse(line, "begins a second document")
        elif isinstance(event, yaml.CollectionEndEvent):
            keys.pop()
        elif isinstance(event, yaml.NodeEvent):
            _check_place(event, keys, line)
            _check_names(event, anchors, line)
            if isinstance(event, yaml.CollectionStartEvent):
                keys.append(True if isinstance(event, yaml.MappingStartEvent) else None)
                if len(keys) > DEPTH_MAX:
                    _refuse(line, f"is nested more than {DEPTH_MAX} deep")


def _check_place(event: yaml.NodeEvent, keys: list[bool | None], line: int) -> None:
    if not keys:
        is_empty = isinstance(event, yaml.ScalarEvent) and not event.value
        if not is_empty and not isinstance(event, yaml.MappingStartEvent):
            _refuse(line, "is no key: value")
    elif keys[-1] is not None:
        if keys[-1] and isinstance(event, yaml.CollectionStartEvent):
            _refuse(line, "has a list or a mapping as a key")
        keys[-1] = not keys[-1]


def _check_names(event: yaml.NodeEvent, anchors: set[str], line: int) -> None:
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            _refuse(line, "names an anchor that is not there")
        return
    if event.anchor:
        anchors.add(event.anchor)
    if event.tag is not None and event.tag not in _TAGS:
        _refuse(line, "has a tag that cloud-init does not know")


def _refuse(line: int, why: str) -> NoReturn:
    raise Invalid(
        f"Line {line} of user_data {why}.",
        code="invalid_user_data",
        hint="Write cloud-config as YAML: key: value.",
        field="cloud_init.user_data",
    )
