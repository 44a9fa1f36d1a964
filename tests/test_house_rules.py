"""The rules that keep the house: layers, Ray at its edge, and that the packages are ours."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("pipelines", "actors", "rayjobs")  # a package imports itself and those before it
MODULES = sorted(path for package in LAYERS for path in (ROOT / package).rglob("*.py"))


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def may_import_ray(path: Path) -> bool:
    return path.name.startswith("ray_") or path.name == "task_coordinator.py"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_go_down(path: Path) -> None:
    own = LAYERS.index(path.relative_to(ROOT).parts[0])
    roots = {name.split(".")[0] for name in imported_names(path)}
    assert not roots & set(LAYERS[own + 1 :])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_ray_is_imported_at_the_edge_only(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported_names(path)}
    assert "ray" not in roots or may_import_ray(path)


def test_every_other_module_imports_while_ray_is_blocked() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        if not may_import_ray(path) and path.name != "__main__.py"
    ]
    code = "import sys, importlib; sys.modules['ray'] = None\n" + "\n".join(
        f"importlib.import_module({name!r})" for name in names
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


REMOVING = {"unlink", "rmtree", "rmdir", "remove", "removedirs", "rename", "renames", "replace", "move", "truncate"}
"""Functions of ``os``, ``shutil`` and ``Path`` that take a file away, or put one in the place of another."""
WRITING = {"write_text", "write_bytes", "copyfile", "copy", "copy2", "copytree", "symlink_to", "hardlink_to", "link"}
WRITING |= {"symlink", "touch", "Workbook", "ParquetWriter", "fdopen"}
CUSTODIANS = {
    "pipelines/storage/local_files.py": "the one place that removes and replaces, by custody",
    "actors/cache/disk_cache.py": "the cache's own directory, in the user's home or where the cluster keeps it",
    "actors/coordinator/cluster_ledger.py": "the cluster's own ledger, in RAYJOBS_HOME",
    "rayjobs/managers/task_store.py": "a manager's own marks, in RAYJOBS_HOME",
}
"""Files that may remove or replace, and whose files those are."""
WRITERS = {
    "pipelines/stages/publish.py": "a temporary file of the run, opened exclusively",
    "pipelines/stages/worker_journal.py": "a journal of the run, opened exclusively",
    "pipelines/machine_faults.py": "a note to the driver in the run's temporary directory, opened exclusively",
    "rayjobs/command_line/program.py": "standard streams, and nothing in their place",
    "rayjobs/run/keeper.py": "nothing, in the place of its standard streams",
    "rayjobs/run/last_words.py": "a traceback, in a file of its own, created exclusively",
    "rayjobs/run/embedded_sessions.py": "a record in RAYJOBS_HOME, of which only its own bytes are written",
    "actors/ledger/output_lock.py": "the lock, of which only its own bytes are written",
    "rayjobs/job/output_directory.py": "a request to the driver, below .rayjobs",
    "rayjobs/results/fixed_files.py": "a temporary file of the run",
    "rayjobs/results/job_tables.py": "a temporary file of the run, linked or copied from the results",
    "rayjobs/command_line/ray_submit.py": "a temporary directory that is uploaded",
    "rayjobs/command_line/reference.py": "job file and schema of `init`, created exclusively",
    "rayjobs/command_line/new_plugin.py": "a package, in a directory that it makes, created exclusively",
    "rayjobs/migration/migrate.py": "job files, created exclusively",
    "pipelines/charts/gallery.py": "the gallery's pages; replaced only by `make gallery`, and only its own",
    "pipelines/tables/csv_table.py": "created exclusively",
    "pipelines/tables/json_table.py": "created exclusively",
    "pipelines/tables/column_chunks.py": "created exclusively",
    "pipelines/tables/parquet_table.py": "a temporary file of the run, named by whoever gives it its place",
    "pipelines/tables/xlsx_table.py": "the same",
    "rayjobs/run/run_loop.py": "a sign to the workers, in the run's temporary directory",
    "rayjobs/run/ray_lone_tasks.py": "the same",
    "rayjobs/run/stage_units.py": "the same",
    "rayjobs/run/plan_sample.py": "a temporary directory of the plan",
}
"""Files that open something for writing, and why that can't be anybody's."""


def calls_of(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """(bare name, call) of every call in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute):
                yield function.attr, node
            elif isinstance(function, ast.Name):
                yield function.id, node


def removes(path: Path) -> list[str]:
    """Calls that remove or replace files; ``str.replace``, ``dataclasses.replace`` and ``list.remove`` aren't meant."""
    names = []
    for name, call in calls_of(path):
        owner = (
            call.func.value.id if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) else ""
        )
        if name in ("replace", "remove", "copy", "truncate", "move"):
            one_target = isinstance(call.func, ast.Attribute) and len(call.args) == 1 and not call.keywords
            if owner not in ("os", "shutil", "Path") and not (name == "replace" and one_target):
                continue
        if name in REMOVING:
            names.append(f"{path.relative_to(ROOT)}:{call.lineno}: {name}")
    return names


def imported_from_system(path: Path) -> list[str]:
    """Functions that remove or write, taken out of their modules: their calls would look like anything else."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "shutil"):
            names += [alias.name for alias in node.names if alias.name in REMOVING | WRITING]
    return names


def opens_to_write(path: Path) -> list[str]:
    names = []
    for name, call in calls_of(path):
        if name in ("open", "OSFile"):
            texts = [a.value for a in [*call.args, *(k.value for k in call.keywords)] if isinstance(a, ast.Constant)]
            modes = [text for text in texts if isinstance(text, str) and re.fullmatch("[rwxabt+]{1,4}", text)]
            flags = ast.unparse(call)
            if any(set(mode) & set("wxa+") for mode in modes) or re.search("O_WRONLY|O_RDWR|O_CREAT|flags", flags):
                names.append(f"{path.relative_to(ROOT)}:{call.lineno}: {flags[:60]}")
        elif name in WRITING - {"copy"}:
            names.append(f"{path.relative_to(ROOT)}:{call.lineno}: {name}")
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_custodians_remove_or_replace_files(path: Path) -> None:
    assert imported_from_system(path) == []
    if str(path.relative_to(ROOT)) not in CUSTODIANS:
        assert removes(path) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_known_places_open_files_to_write(path: Path) -> None:
    if str(path.relative_to(ROOT)) not in CUSTODIANS | WRITERS:
        assert opens_to_write(path) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("path.unlink()", True),
        ("import shutil; shutil.rmtree(x)", True),
        ("os.replace(a, b)", True),
        ("temporary.replace(final)", True),
        ("self.path.rename(other)", True),
        ("text.replace('a', 'b')", False),
        ("replace(row, status='done')", False),
        ("names.remove('a')", False),
        ("os.remove(path)", True),
        ("Path.rename(a, b)", True),
        ("path.rename(target=b)", True),
        ("Path.replace(a, b)", True),
    ],
)
def test_the_rule_sees_what_it_looks_for(
    tmp_path: Path, code: str, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.test_house_rules.ROOT", tmp_path)
    (tmp_path / "a.py").write_text(code)
    assert bool(removes(tmp_path / "a.py")) == found


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("open(x, 'w')", True),
        ("path.open('xb')", True),
        ("path.open()", False),
        ("open(x, 'rb')", False),
        ("path.write_text('a')", True),
        ("os.open(x, os.O_RDONLY)", False),
        ("os.open(x, os.O_WRONLY | os.O_CREAT)", True),
        ("os.link(a, b)", True),
    ],
)
def test_the_rule_sees_writing(tmp_path: Path, code: str, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_house_rules.ROOT", tmp_path)
    (tmp_path / "a.py").write_text(code)
    assert bool(opens_to_write(tmp_path / "a.py")) == found


MOST_ALIKE = 10
"""Lines of code that may stand in two places."""


def code_lines(path: Path) -> list[tuple[int, str]]:
    """(number, text) of the lines that are no imports, comments or blank."""
    text = path.read_text(encoding="utf-8")
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    imports = {number for node in nodes for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    return [(number, line) for number, line in lines if line and not line.startswith("#") and number not in imports]


def test_nothing_long_is_written_twice() -> None:
    places: dict[tuple[str, ...], list[str]] = {}
    for path in MODULES:
        lines = code_lines(path)
        for start in range(len(lines) - MOST_ALIKE):
            run = tuple(line for _, line in lines[start : start + MOST_ALIKE + 1])
            places.setdefault(run, []).append(f"{path.relative_to(ROOT)}:{lines[start][0]}")
    assert [where for where in places.values() if len(where) > 1] == []


TRIES = re.compile("(?i)(^|_)(tries|attempts|retries|restarts|rounds|deaths|pauses?_s)$")
RETRY_TABLE = "pipelines/retry_rules.py"


def tries_in(code: str) -> list[str]:
    """Numbers of tries, and pauses between them, that code defines; a counter may begin at 0 or 1."""
    pairs: list[tuple[str, ast.expr]] = []
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Assign(targets=targets, value=value):
                pairs += [(ast.unparse(target), value) for target in targets]
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                pairs.append((ast.unparse(target), value))
            case ast.keyword(arg=str(name), value=value):
                pairs.append((name, value))
            case ast.Dict(keys=keys, values=values):
                pairs += [(k.value, v) for k, v in zip(keys, values, strict=True) if isinstance(k, ast.Constant)]
    return [
        f"{name} = {ast.unparse(value)}"
        for name, value in pairs
        if isinstance(name, str) and TRIES.search(name)
        for number in ast.walk(value)
        if isinstance(number, ast.Constant) and isinstance(number.value, int | float)
        if number.value not in (0, 1) or (name.startswith("max_") and isinstance(value, ast.Constant | ast.UnaryOp))
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_numbers_of_tries_stand_in_one_table(path: Path) -> None:
    found = tries_in(path.read_text(encoding="utf-8"))
    assert bool(found) == (str(path.relative_to(ROOT)) == RETRY_TABLE), found


@pytest.mark.parametrize(
    "code",
    [
        "SEAL_TRIES = 3",
        "f(max_retries=0)",
        "f(max_restarts=-1)",
        "a = {'max_retries': 0}",
        "PAUSES_S = (0.5, 1)",
        "attempts: int = Field(3)",
    ],
)
def test_the_rule_sees_numbers_of_tries(code: str) -> None:
    assert tries_in(code)


ONE_OF_EACH: dict[str, tuple[str, set[str]]] = {
    "a parameter declares that it names a file; its own name says nothing": (r'== "path"|"lut3d"(?!: ")', set()),
    "how kernels are compiled": (r"numba\.n?jit\(", {"pipelines/kernel_compiler.py"}),
    "what decides a step's pixels": (r"def \w*(step|operation)_key\(", {"pipelines/cache_keys.py"}),
    "values become a job by `check_job`; only a job file is a text": (
        r"\bparse_job\(|JobSpec\.model_validate\(",
        {"rayjobs/job/job_file.py", "rayjobs/job/job_check.py"},
    ),
    "where an input's files lie": (r"images/\{|charts/\{\w+\}/\{", {"pipelines/stages/output_paths.py"}),
    "images are encoded and charts drawn by the stages, for jobs and tasks; and for who checks them": (
        r"(?<!def )\b(encode_image|draw_chart)\(",
        {
            "pipelines/stages/image_stages.py",
            "pipelines/stages/thumbnails.py",
            "pipelines/charts/gallery.py",
            "rayjobs/image_checks.py",
        },
    ),
    "arrays in JSON": ("__array__", {"pipelines/result_codec.py"}),
    "sizes and durations as text": (
        r"def (\w*_)?(size|duration)_text\(|KMGT.\[|:02d} min",
        {"pipelines/quantity_texts.py"},
    ),
    "names that are near": ("get_close_matches", {"pipelines/registry.py"}),
    "the frame of a PNG": (r"\\x89PNG|crc32\(\w+, zlib", {"pipelines/image_io/png_chunks.py"}),
    "exit codes": (r"(?m)^EXIT_\w+ =|return 130", {"rayjobs/command_line/exit_codes.py"}),
    "a snapshot of counts": (r"Snapshot\([^)]*total=", set()),
    "where text stands on charts": (r"BASELINE_PX|\.(x|y|y_right)\.label", {"pipelines/charts/layout.py"}),
    "telling UTF-16": ("BOM_UTF16", {"pipelines/text_encoding.py"}),
    "the directories above a file": (r"PurePosixPath\(\w+\)\.parts", {"pipelines/storage/local_files.py"}),
    "what is known of a job as a whole": (
        r"\bmeta\b.*\b(key|VALUES)\b",
        {"actors/ledger/job_facts.py", "actors/ledger/ledger_format.py"},
    ),
    "a file's record": (r"mtime_ns=found\.mtime_ns", set()),
    "what Ray is told that a task needs, but for Ray itself and the coordinator": (
        r'num_(cpus|gpus)\s*=[^=]|"num_(cpus|gpus)"',
        {
            "pipelines/resource_needs.py",
            "rayjobs/run/ray_session.py",
            "actors/coordinator/ray_coordinator.py",
        },
    ),
    "names of resources, and amounts in words": (
        r'(?m)^(CPU|MEMORY|GPU)(, .*)? = "|def say\(name: str, amount|class (Infeasible|ResourcesBusy)Error',
        {"pipelines/resource_needs.py"},
    ),
    "refusals for want of resources": ("asks for \\{", {"pipelines/resource_needs.py", "actors/queue/capacity.py"}),
    "the loop over Ray tasks of which so many run at a time": (r"\bray\.wait\(", {"pipelines/ray_bounded_tasks.py"}),
    "Ray's end under a thread that waits for it": (r"except \(?SystemExit", {"pipelines/ray_end.py"}),
    "what a step is called": (r"\(\[self\.name, dict\(", {"pipelines/models.py"}),
}
"""What there is once -> how it looks in code, and the files that it is in."""


GIVEN_UP = {
    r"[A-Za-z]Book\b|\b(grant|task|recipe)_book\b": "`OpenGrants`, a job's `JobRecipes`, a manager's `TaskStore`",
    r"\b(JobRunner|job_runner|ray_work|work_on_ray)\b": "`RunLoop`, and `run_on_ray`: a run is one start of a job",
    r"\b(TaskRunner|ray_task_runner)\b": "`TaskClient`: it runs nothing",
    r"\bJobRun\b": "`RunHandle`",
    r"\bplace=\w+(\[0\])?\.seq\b|\b(first|end|next|open)_place\b": "`seq`, for an input's position",
    r"(?i)\bhand(s|ed|ing)?(\s+\w+){0,3}\s+back\b|\byielding\b": "release, and revoke",
}
"""Words that once meant what another means -> that one; see the table in CONTRIBUTING.md."""


@pytest.mark.parametrize("pattern", GIVEN_UP)
def test_words_that_were_given_up_stay_away(pattern: str) -> None:
    folders = [ROOT / name for name in (*LAYERS, "tests", "benchmarks", "docs", "examples")]
    paths = [*ROOT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*.*"))]
    texts = [path for path in paths if path.suffix in {".py", ".pyi", ".md"} and path != Path(__file__).resolve()]
    found = [str(path.relative_to(ROOT)) for path in texts if re.search(pattern, path.read_text(encoding="utf-8"))]
    assert found == [], f"say {GIVEN_UP[pattern]}"


@pytest.mark.parametrize("what", ONE_OF_EACH)
def test_there_is_one_of_each(what: str) -> None:
    pattern, places = ONE_OF_EACH[what]
    found = {str(path.relative_to(ROOT)) for path in MODULES if re.search(pattern, path.read_text(encoding="utf-8"))}
    assert found == places


LONGEST_FILE, LONGEST_FUNCTION = 400, 40
"""Lines. A function's are those of its body: signature and docstring, which are its contract, aren't counted."""
LONG_FILES = {
    "actors/coordinator/task_coordinator.py": "one class of the design: a thin client with documented methods",
}
LONG_FUNCTIONS = {
    "rayjobs/run/ray_run.py:run_on_ray": "puts the parts of a run together, and decides nothing",
}
"""What is longer, and why that is no sign of two nouns in one."""


def long_functions(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[ast.get_docstring(node) is not None :]
            if body and (body[-1].end_lineno or 0) - body[0].lineno >= LONGEST_FUNCTION:
                found.add(f"{path.relative_to(ROOT)}:{node.name}")
    return found


def test_files_and_functions_are_short_or_say_why_not() -> None:
    lines = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in MODULES}
    assert {name for name, number in lines.items() if number > LONGEST_FILE} == set(LONG_FILES)
    assert set().union(*map(long_functions, MODULES)) == set(LONG_FUNCTIONS)


def test_the_rule_counts_the_lines_of_a_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_house_rules.ROOT", tmp_path)
    body = "    x = 1\n"
    text = 'def f{}():\n    """Text.\n\n    More.\n    """\n{}'
    (tmp_path / "a.py").write_text(text.format(40, body * 40) + text.format(41, body * 41))
    assert long_functions(tmp_path / "a.py") == {"a.py:f41"}


OFFERED = ("rayjobs/testing.py", "rayjobs/image_checks.py", "rayjobs/plugins.py")
"""Modules whose functions are for plug-ins."""
CALLED_BY_OTHERS = {
    "ignore_aliases": "PyYAML",
    "on_execution_step": "Ray Data",
    "before_execution_starts": "Ray Data",
    "try_trigger_scaling": "Ray Data",
    "on_executor_shutdown": "Ray Data",
    "get_total_resources": "Ray Data",
    "PrivateCacheLocator": "numba, by its name",
    "_repr_html_": "notebooks",
    "cache_hits": "callers of get_processing_stats",
}
REGISTERING = {"operation", "_scope", "analysis", "field_validator", "model_validator"}
"""Decorators that hand a function to somebody."""


def defined(path: Path, offered: Collection[str]) -> Iterator[str]:
    """Functions, methods, classes and constants of a file, but for what classes that are ``offered`` can do."""

    def walk(body: Iterable[ast.stmt], *, public: bool) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                decorators = {ast.unparse(each).partition("(")[0] for each in node.decorator_list}
                if not (decorators & REGISTERING or (public and not node.name.startswith("_"))):
                    yield node.name
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, public=node.name in offered)

    module = ast.parse(path.read_text(encoding="utf-8")).body
    yield from walk(module, public=False)
    yield from (
        node.targets[0].id for node in module if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    )


def test_everything_is_used() -> None:
    """By the program, its generated documentation or whoever uses what the packages offer; tests are no use."""
    stubs = [(ROOT / package / "__init__.pyi").read_text(encoding="utf-8") for package in LAYERS]
    offered = set(re.findall(r"\w+$", "\n".join(stubs), re.MULTILINE))
    offered |= {"DriverResources"}  # what ResourceManager, its one subclass, offers
    texts = [path.read_text(encoding="utf-8") for path in [*MODULES, ROOT / "docs" / "generate.py"]]
    words = Counter(word for text in [*texts, *stubs] for word in re.findall(r"\w+", text))
    unused = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in MODULES
        if str(path.relative_to(ROOT)) not in OFFERED
        for name in defined(path, offered)
        if words[name] < 2 and name not in CALLED_BY_OTHERS and not name.startswith("__")
    }
    assert unused == set()


@pytest.mark.parametrize("package", LAYERS)
def test_packages_come_from_this_checkout(package: str) -> None:
    """``actors`` and ``pipelines`` are generic names that a stranger's distribution may bear too."""
    found = Path(str(importlib.import_module(package).__file__)).resolve()
    assert found.is_relative_to(ROOT), f"{package} is shadowed by {found}"
