"""The rules of the house that no linter knows: sizes, the one way to import, and what must never be in the repository."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES_MAX = 400
ROOMS = ("domain", "journal", "projections", "transports", "hypervisor", "core", "cell", "http", "ui", "tools")


def tracked(*patterns: str) -> list[Path]:
    named = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in named.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_source_file_is_too_long() -> None:
    sources = [
        path for path in tracked("*.py", "*.sh", "*.js", "*.css", "*.html", "scripts/*") if "vendor" not in path.parts
    ]
    assert sources
    long = {str(path.relative_to(ROOT)): n for path in sources if (n := len(path.read_text().splitlines())) > LINES_MAX}
    assert not long, f"split these (at most {LINES_MAX} lines): {long}"


def test_nothing_that_is_needed_is_ignored() -> None:
    """A pattern of .gitignore that matches inside a room makes a clone that lacks a file (vendored ``dist/``, once)."""
    command = ["git", "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", *ROOMS]
    ignored = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    assert not [name for name in ignored if name and "__pycache__" not in name]


def test_every_module_says_why_it_exists() -> None:
    silent = []
    for path in tracked("*.py"):
        text = path.read_text()
        if text.strip() and not re.match(r'(#!.*\n)?r?"""', text):
            silent.append(str(path.relative_to(ROOT)))
    assert not silent, f"these begin without a docstring: {silent}"


def test_rooms_never_shadow_the_standard_library() -> None:
    """``http/`` is a namespace portion: from the repository's root the standard package must still win."""
    code = (
        "import http.client, sys; sys.exit('nano' in http.client.__file__ or 'site-packages' in http.client.__file__)"
    )
    assert not (ROOT / "http/__init__.py").exists()
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_rooms_are_imported_by_one_name() -> None:
    bare = re.compile(rf"^\s*(?:from|import)\s+({'|'.join(room for room in ROOMS if room != 'http')})\b", re.MULTILINE)
    found = [str(path.relative_to(ROOT)) for path in tracked("*.py") if bare.search(path.read_text())]
    assert not found, f"write nano.<room> in: {found}"


@pytest.mark.parametrize("level", ["run", "cell", "postgres", "dev"])
def test_requirements_pin_what_the_project_asks_for(level: str) -> None:
    """Every dependency pyproject names is pinned with hashes, and no file names where packages come from."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in ("cell", "postgres", "dev"):
        if level in (extra, "dev"):
            wanted += project["optional-dependencies"][extra]
    text = (ROOT / f"requirements/{level}.txt").read_text()
    pins = {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+) \\$", text, re.MULTILINE)
    }
    for requirement in map(Requirement, wanted):
        version = pins.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not pinned: run scripts/lock"
        assert requirement.specifier.contains(version), f"{requirement}: {version} is pinned; run scripts/lock"
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    assert not re.search(r"^\s*--(index|extra-index|find-links|trusted)", text, re.MULTILINE)


def test_requirements_agree_with_each_other() -> None:
    """run ⊂ cell ⊂ dev and run ⊂ postgres ⊂ dev, one version each: a test must not run on other versions than a node."""
    pinned = {}
    for level in ("run", "cell", "postgres", "dev"):
        text = (ROOT / f"requirements/{level}.txt").read_text()
        pinned[level] = set(re.findall(r"^([\w.-]+==\S+) \\$", text, re.MULTILINE))
    assert pinned["run"] < pinned["cell"] < pinned["dev"]
    assert pinned["run"] < pinned["postgres"] < pinned["dev"]
