"""What the documentation says is so: pages made from the code, examples that run, commands that exist, links that lead.

Reference pages differ after a change of a signature, a docstring or an argument: `make docs` makes them anew.
"""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import tomllib
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml

from docs.generate import PAGES, PICTURES, TABLES, with_tables
from docs.reference_texts import REASONS, SYSTEMS, WHOLE_JOB
from pipelines.analyses import ANALYSES, AnalysisCalculator
from pipelines.errors import FailedReason, SkippedReason
from pipelines.extensions.extension_adapters import ExtensionKind
from pipelines.operations import OPERATIONS, apply_operations
from pipelines.retry_rules import RETRY_RULES
from rayjobs.command_line.cli import parser
from rayjobs.command_line.step_examples import ANALYSIS_EXAMPLES, OPERATION_EXAMPLES
from rayjobs.job.job_file import parse_job
from rayjobs.job.job_spec import JobSpec, job_schema

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
GUIDES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
    if "build" not in path.parts
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
IDENTITY_LUT = "LUT_3D_SIZE 2\n" + "".join(f"{r} {g} {b}\n" for b in (0, 1) for g in (0, 1) for r in (0, 1))


def commands() -> dict[str, argparse.ArgumentParser]:
    action = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(action.choices)


def fences(path: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(path.read_text(encoding="utf-8")) if kind == language]


@pytest.fixture
def picture() -> np.ndarray:
    rows, columns = np.mgrid[:48, :64]
    image = np.stack([rows * 5, columns * 4, (rows + columns) * 2], axis=-1).astype(np.uint8)
    image[10:20, 10:30] = 20
    image.flags.writeable = False
    return image


# ---- pages made from the code ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_reference_pages_are_what_the_code_says(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("name", TABLES)
def test_tables_in_pages_are_what_the_code_says(name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == with_tables(name, page), "run `make docs`"


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_what_the_data_say(name: str) -> None:
    assert (ROOT / "docs" / "images" / name).read_text(encoding="utf-8") == PICTURES[name](), "run `make docs`"


def test_the_table_of_retries_names_files_that_exist() -> None:
    assert all((ROOT / by).is_file() for rule in RETRY_RULES for by in rule.by.split(", ") if "/" in by)


def test_every_name_has_an_example() -> None:
    built_in = {name for name, entry in OPERATIONS.items() if entry.group != "plug-ins"}
    assert set(OPERATION_EXAMPLES) == built_in
    assert set(ANALYSIS_EXAMPLES) == set(ANALYSES)


def test_every_reason_is_explained() -> None:
    assert set(REASONS) == {reason.value for reason in (*FailedReason, *SkippedReason)}


def test_every_command_is_on_its_page() -> None:
    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    assert all(f"\n## {name}\n" in page for name in commands())
    assert all(action.help for sub in commands().values() for action in sub._actions)


def test_every_system_has_tests() -> None:
    missing = {test for system in SYSTEMS for test in system.tests if not (ROOT / "tests" / test).exists()}
    assert missing == set()


# ---- examples --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATION_EXAMPLES)
def test_operation_examples_run(name: str, picture: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "looks").mkdir()
    (tmp_path / "looks" / "warm.cube").write_text(IDENTITY_LUT)
    snippet = f"name: x\ninputs: [a]\noutput: out\noperations:\n  - {OPERATION_EXAMPLES[name]}\n"
    spec = parse_job(snippet, base=tmp_path)
    assert [step.name for step in spec.operations] == [name]
    done = apply_operations(picture, spec.operations).pixels
    assert done.dtype == picture.dtype
    assert done.size


@pytest.mark.parametrize("name", ANALYSIS_EXAMPLES)
def test_analysis_examples_run(name: str, picture: np.ndarray) -> None:
    spec = parse_job(f"name: x\ninputs: [a]\noutput: out\nanalyses:\n  - {ANALYSIS_EXAMPLES[name]}\n")
    (request,) = spec.analyses
    result = AnalysisCalculator().calculate_analyses(picture, spec.analyses)[name]
    made_later = {"group"} if name == "image_hash" else set()  # known when all images are
    assert {column.name for column in ANALYSES[name].columns(**request.params)} - made_later <= set(result)


def test_the_whole_job_names_every_key() -> None:
    spec = parse_job(WHOLE_JOB)
    assert set(yaml.safe_load(WHOLE_JOB)) == set(JobSpec.model_fields)
    assert spec.name == "autumn-look"


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_yaml_in_guides_is_a_job_or_a_part_of_one(path: Path) -> None:
    schema = jsonschema.Draft202012Validator(job_schema())
    for text in fences(path, "yaml"):
        raw = yaml.safe_load(text)
        assert set(raw) <= set(JobSpec.model_fields), text
        if "plugins" in raw or "lut3d" in text or (path.parent.name == "plugin"):
            continue  # needs what is not here
        whole = {"name": "x", "inputs": ["a"], "output": "out", **raw}
        parse_job(yaml.safe_dump(whole, sort_keys=False), name=path.name)
        schema.validate(whole)


def test_the_job_of_the_readme_is_what_init_writes() -> None:
    (shown,) = fences(ROOT / "README.md", "yaml")
    template = (ROOT / "rayjobs" / "job_template.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(shown) == yaml.safe_load(template)


def test_the_chinese_readme_has_the_blocks_and_links_of_the_english_one() -> None:
    english, chinese = (
        FENCE.findall((ROOT / name).read_text(encoding="utf-8")) for name in ("README.md", "README.zh-CN.md")
    )
    assert chinese == english
    links = [
        [target for target in LINK.findall((ROOT / name).read_text(encoding="utf-8")) if "README" not in target]
        for name in ("README.md", "README.zh-CN.md")
    ]
    assert links[1] == links[0]


# ---- commands and links ----------------------------------------------------------------------------------------------


def shell_lines() -> list[tuple[str, str]]:
    lines = []
    for path in GUIDES:
        for text in fences(path, "sh"):
            for line in text.replace("\\\n", " ").splitlines():
                words = line.partition("#")[0].removeprefix("$ ").strip()
                words = words.removeprefix(".venv/bin/").replace("python -m rayjobs", "rayjobs")
                if words.startswith("rayjobs "):
                    lines.append((f"{path.relative_to(ROOT)}: {words}", words))
    return lines


@pytest.mark.parametrize("line", [line for _, line in shell_lines()], ids=[name for name, _ in shell_lines()])
def test_commands_in_guides_are_accepted(line: str) -> None:
    words = shlex.split(line)[1:]
    for stop in ("|", ">", "&&", ";", "&"):
        words = words[: words.index(stop)] if stop in words else words
    if words == ["--version"]:
        return
    parser().parse_args(words)


def anchors(path: Path) -> set[str]:
    """The names that headings get: small letters, spaces as dashes, no other marks."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert broken == []


PROGRAM = sorted(path for package in ("pipelines", "actors", "rayjobs") for path in (ROOT / package).rglob("*.py"))
OURS = r"(?<![\w/.{])(?:actors|pipelines|rayjobs|tests|docs|benchmarks|examples)"


NO_FILES = {kind.group.replace(".", "/") for kind in ExtensionKind} | {"rayjobs/events"}
"""Names like those of modules: groups of entry points, and a log."""


def pointers(text: str) -> set[str]:
    """Files and folders of ours that a text names: `x.py`, `tests/leaks.py`, `actors.queue.task_pools`."""
    files = re.findall(r"(?<![\w/.-])(?:[\w*-]+/)*[\w*-]+\.py\b", text)
    folders = re.findall(OURS + r"/(?:[\w*.-]+/)*[\w*.-]*", text)
    modules = [name.replace(".", "/") for name in re.findall(OURS + r"(?:\.[a-z]\w*)+(?![\w/(])", text)]
    return {name.rstrip("./") for name in (*files, *folders, *modules)} - NO_FILES


def leads_somewhere(pointer: str) -> bool:
    """From the root, or from some folder; what is behind the name of a module or package may be a name in it."""
    for name in (pointer, f"{pointer}.py", f"{pointer.rpartition('/')[0]}.py"):
        if any(ROOT.glob(name)) or any(path.match(name) for path in SOURCES):
            return True
    package, _, name = pointer.rpartition("/")
    doors = (ROOT / package / "__init__.py", ROOT / package / "__init__.pyi")
    return any(door.exists() and name in door.read_text(encoding="utf-8") for door in doors)


SOURCES = [*PROGRAM, *(path for folder in ("tests", "docs", "examples") for path in (ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", [*GUIDES, *PROGRAM], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(path: Path) -> None:
    if path.name == "CHANGELOG.md":
        return  # tells what was
    named = pointers(path.read_text(encoding="utf-8"))
    assert [name for name in sorted(named) if not leads_somewhere(name)] == []


def test_names_in_docstrings_are_in_the_code() -> None:
    """Those with an underscore, which no word of a sentence has: ``task_queue``, ``open_bytes``."""
    texts = {path: path.read_text(encoding="utf-8") for path in PROGRAM}
    code = "\n".join(re.sub("``[^`]*``", "", text) for text in texts.values())
    columns = {column.name for analysis in ANALYSES.values() for column in analysis.columns()} | {"p99_9"}
    whole = {f"{name}_{column}" for name in ANALYSES for column in columns}
    there = {*re.findall(r"\w+", code), *(path.stem for path in PROGRAM), *columns, *whole}
    named = {(path.name, name) for path, text in texts.items() for name in re.findall(r"``([a-zA-Z]\w*_\w+)``", text)}
    assert {(file, name) for file, name in named if name not in there} == set()


def test_the_check_of_names_sees_what_is_gone() -> None:
    text = "`actors/queue/task_queue.py`, `actors.queue.gone.name`, `gone.py` and `tests/gone/`, but `tests/leaks.py`"
    assert {name for name in pointers(text) if not leads_somewhere(name)} == {
        "actors/queue/gone/name",
        "gone.py",
        "tests/gone",
    }


@pytest.mark.parametrize(
    "path", [path for path in PROGRAM if path.name == "__init__.py"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_doors_name_what_is_there(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    words = set(re.findall(r"(?<![\w*/.])[a-z]+(?:_[a-z]+)+(?!\w)", text))
    whole = "\n".join(source.read_text(encoding="utf-8") for source in PROGRAM)
    there = {source.stem for source in PROGRAM} | set(re.findall(r"def (\w+)\(", whole))
    assert words - there == set()


def test_every_guide_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in GUIDES if path.is_relative_to(ROOT / "docs")]
    assert [page for page in pages if page != "README.md" and f"({page})" not in index] == []


def test_decisions_are_numbered_and_own_code_in_the_place_of_a_library_is_measured() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    measured = [page.name[5:] for page in pages if "**Measured**" in page.read_text(encoding="utf-8")]
    assert {"compiled-kernels.md", "own-charts.md", "interactive-lane.md"} <= set(measured)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = [name for extra in project["optional-dependencies"].values() for name in extra]
    names = {re.split(r"[\[<>=~! ]", entry)[0] for entry in (*project["dependencies"], *optional)} - {project["name"]}
    page = (ROOT / "docs" / "decisions" / "0005-dependencies.md").read_text(encoding="utf-8")
    assert sorted(name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", page)) == []
