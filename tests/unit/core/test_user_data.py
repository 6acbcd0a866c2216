"""Which cloud-configs a guest could read."""

import pytest

from nano.core.user_data import check_cloud_config
from nano.domain.cloud_init import USER_DATA_MAX
from nano.domain.errors import Invalid

FINE = (
    "",
    "#!/bin/sh\n{ not: [yaml\n",
    "#cloud-config",
    "#cloud-config\npackages: [htop]\nruncmd:\n  - [sh, -c, 'echo: x']\n",
    "#cloud-config\na: &one {b: 1}\nc: *one\nd: {<<: *one}\n",
    "#cloud-config\nwrite_files:\n- content: |\n    a\n    \tany: [thing\n  path: /x\n",
    '#cloud-config\n{"users": []}\n',
    "#cloud-config\n---\na: !!str 1\n",
)
BROKEN = (
    ("hello", 2),
    ("- a\n- b", 2),
    ("a: 1\n\tb: 2", 3),
    ("a: [1, 2", None),
    ("a: 'open", None),
    ("a: 1\n b: 2", 3),
    ("a: *nobody", 2),
    ("a: !!python/object/apply:os.system [id]", 2),
    ("a: !vault x", 2),
    ("a: 1\n---\nb: 2", 3),
    ("? [a, b]\n: 1", 2),
    ("a:\n  {b: 1}: 2", 3),
    ("%YAML 9.9\n---\na: 1", None),
)


@pytest.mark.parametrize("text", FINE)
def test_what_a_guest_can_read(text: str) -> None:
    check_cloud_config(text)


@pytest.mark.parametrize(("text", "line"), BROKEN)
def test_what_a_guest_would_drop_is_refused_with_its_line(text: str, line: int | None) -> None:
    with pytest.raises(Invalid) as refused:
        check_cloud_config(f"#cloud-config\n{text}\n")
    assert refused.value.code == "invalid_user_data"
    assert refused.value.context["field"] == "cloud_init.user_data"
    assert line is None or f"Line {line} " in refused.value.message


@pytest.mark.parametrize("text", ["a: 'hunter2", "hunter2", "a: *hunter2", "a: !hunter2 x", "[hunter2"])
def test_nothing_of_the_text_is_told(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_cloud_config(f"#cloud-config\n{text}")
    assert "hunter2" not in f"{refused.value.message} {refused.value.hint} {refused.value.context}"


LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60))


@pytest.mark.parametrize("text", [LAUGHS, MERGES])
def test_nothing_is_built_of_what_repeats_itself(text: str) -> None:
    check_cloud_config("#cloud-config\n" + text)  # built, it would be more than any memory


@pytest.mark.parametrize("text", ["a: " + "[" * (USER_DATA_MAX - 20), "a: " + "{a: " * 16_000])
def test_depth_is_bounded(text: str) -> None:
    with pytest.raises(Invalid, match=r"Line 2 of user_data is nested more than 64 deep"):
        check_cloud_config("#cloud-config\n" + text)
