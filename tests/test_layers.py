"""A folder imports only from folders above it in the list of README, which names every folder."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "ulna"
LAYERS = (
    "core", "formats", "quality", "dataset", "batch", "preprocessing", "nn", "encoders", "pretext", "models", "recipes",
    "training", "evaluation", "audit", "analysis", "cli",
)  # fmt: skip
ALONE = ("errors.py", "onnx.py")  # outside of all folders, with no import but of one another
FILES = sorted(path for layer in LAYERS for path in (SOURCE / layer).glob("*.py"))


def imported_folders(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        own = [name.split(".")[1] for name in names if name.startswith("ulna.")]
        yield from (name for name in own if f"{name}.py" not in ALONE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_imports_go_up(path):
    layer = LAYERS.index(path.parent.name)
    for folder in imported_folders(path):
        assert LAYERS.index(folder) <= layer, f"{path.name} in {path.parent.name}/ imports from {folder}/"


def test_every_folder_is_a_layer():
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")} - {"sample", "weights"}
    assert folders == set(LAYERS)


@pytest.mark.parametrize("layer", ["core", "formats"])
def test_lowest_layers_do_without_torch(layer):
    for path in (SOURCE / layer).glob("*.py"):
        assert not re.search(r"^\s*(import|from) (torch|lightning)\b", path.read_text(), re.M), path


def test_importing_ulna_is_light():
    code = "import sys, ulna; print({'torch', 'lightning', 'scipy', 'numpy', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
    code = "import sys, ulna.cli, ulna.formats; print({'torch', 'lightning', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def numbers_used_as_indices(tree):
    """Whole numbers above 3 that index something, by themselves or in a list: joint numbers, most likely."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and not (isinstance(node.value, ast.Name) and node.value.id == "Annotated"):
            waiting = [node.slice]
            while waiting:
                inner = waiting.pop()
                if isinstance(inner, ast.Tuple | ast.List):
                    waiting += inner.elts
                elif isinstance(inner, ast.Constant) and type(inner.value) is int and inner.value > 3:
                    yield inner.value, node.lineno


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name not in ("core", "formats")], ids=lambda p: p.stem)
def test_no_joint_number_or_padding_constant_outside_skeletons_and_formats(path):
    text = path.read_text()
    assert "99.9" not in text
    assert [f"line {line}: [{number}]" for number, line in numbers_used_as_indices(ast.parse(text))] == []


def test_the_check_of_joint_numbers_finds_them():
    assert [number for number, _ in numbers_used_as_indices(ast.parse("x[:, 20] - y[..., [4, 8]]"))] == [20, 8, 4]


def test_readme_has_a_line_for_every_folder():
    readme = (SOURCE.parent.parent / "README.md").read_text()
    listed = re.findall(r"^\s{2}(\w+)/ +\S", readme, re.M)
    assert [name for name in listed if name in LAYERS] == list(LAYERS)
