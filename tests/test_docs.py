"""The how-to pages are executed: the files and rows they show pass the contract tests; README's names exist."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ulna

ROOT = Path(__file__).parent.parent
PAGES = {
    "add_a_format": ("my_data", 4),
    "add_a_preprocessor": ("my_preprocessor", 9),
    "add_an_encoder": ("my_encoder", 18),
    "add_a_pretext_task": ("my_task", 7),
    "add_a_protocol": ("nearest_mean", 4),
    "add_a_recipe": ("my_method", 1),
}
BLOCK = re.compile(r"^```python\n# (.*?)\n(.*?)^```$", re.M | re.S)


def add_row(text: str, table: str, row: str) -> str:
    """Insert a row at the top of a table of names."""
    if table == "RECIPES":
        name = row.strip().removeprefix("*").split(".")[0]
        text = text.replace("    for recipe in (\n", f"    for recipe in (\n{row}", 1)
        return text.replace("from ulna.models import", f"from ulna.recipes import {name}\nfrom ulna.models import", 1)
    start = text.index(f"{table} = NameTable(")
    opening = text.index("    {\n", start) + len("    {\n")
    return text[:opening] + row + text[opening:]


@pytest.fixture(scope="module")
def contract_tests(tmp_path_factory):
    """The contract tests of the rows that all pages add to a copy of the package, run once."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "src" / "ulna", folder / "ulna", ignore=shutil.ignore_patterns("__pycache__"))
    for page in PAGES:
        blocks = BLOCK.findall((ROOT / "docs" / f"{page}.md").read_text())
        assert len(blocks) == 2
        for header, content in blocks:
            if row := re.fullmatch(r"In src/(\S+), a row of (\w+):", header):
                path = folder / row[1]
                path.write_text(add_row(path.read_text(), row[2], content))
            else:
                path = folder / header.removeprefix("src/")
                assert not path.exists()
                path.write_text(content)
    names = " or ".join(name for name, _ in PAGES.values())
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", names]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")} | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        [*command, str(ROOT / "tests" / "test_contracts.py")], capture_output=True, text=True, env=environment, cwd=ROOT
    )


@pytest.mark.parametrize("page", PAGES)
def test_how_to_pages_pass_the_contract_tests_literally(page, contract_tests):
    name, least = PAGES[page]
    passed = re.findall(rf"^tests.*{name}.* PASSED", contract_tests.stdout, re.M)
    assert contract_tests.returncode == 0, contract_tests.stdout[-3000:]
    assert len(passed) >= least


def test_every_how_to_page_is_executed_and_linked_from_readme():
    pages = {path.stem for path in (ROOT / "docs").glob("add_*.md")}
    assert pages == set(PAGES)
    readme = (ROOT / "README.md").read_text()
    assert all(f"docs/{page}.md" in readme for page in pages)


def test_links_between_pages_exist():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "results").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_names_in_readme_are_public():
    for name in re.findall(r"ulna\.(\w+)", (ROOT / "README.md").read_text()):
        assert name in ulna.__all__, name


def test_tables_of_results_agree_with_the_csv_file():
    command = [sys.executable, "scripts/make_tables.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
