"""A room imports only from floors below it, and its own; the README names every room."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "ulna"
FLOORS = (
    "core", "readers", "data", "inputs", "nn", "encoders", "pretext", "train", "protocols", "analysis", "recipes",
    "cli",
)  # fmt: skip
FILES = sorted(path for room in FLOORS for path in (SOURCE / room).glob("*.py"))


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name.split(".")[1] for name in names if name.startswith("ulna."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_imports_go_down(path):
    floor = FLOORS.index(path.parent.name)
    for room in imported_rooms(path):
        assert FLOORS.index(room) <= floor, f"{path.name} on floor {floor} imports from {room}"


@pytest.mark.parametrize("room", ["core", "readers"])
def test_lowest_floors_do_without_torch(room):
    for path in (SOURCE / room).glob("*.py"):
        assert not re.search(r"^\s*(import|from) (torch|lightning)\b", path.read_text(), re.M), path


def test_importing_ulna_is_light():
    code = "import sys, ulna, ulna.cli, ulna.formats; print({'torch', 'lightning', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_no_joint_number_or_padding_constant_outside_core():
    for path in SOURCE.rglob("*.py"):
        assert "99.9" not in path.read_text(), path


def test_readme_has_a_line_for_every_room():
    readme = (SOURCE.parent.parent / "README.md").read_text()
    for room in FLOORS:
        assert re.search(rf"^\s*{room}/ +\S", readme, re.M), f"the README's file tree lacks {room}/"
