"""The page ``docs/reference/python.md``: what ``rayjobs`` offers to programs, read from its source.

A name that the package offers and no group has, or the other way round, is an error: nothing is left out unseen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INTRODUCTION = """`import rayjobs` loads nothing else; each name is imported when it is first used.

```python
import rayjobs

job = rayjobs.open_job("out")  # a directory, an id or a name
job.wait()  # with progress, if it still runs
table = job.images()  # Arrow; also to_pandas(), to_polars(), to_duckdb(), to_ray()
```

[Work in a notebook](../how-to/notebooks.md) shows it from the start of a job. What plug-ins import is in
[own operations, analyses, charts](../how-to/plugins.md).
"""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Look at a job": ("open_job", "OpenJob", "ContactSheet", "JobState", "JobStatus"),
    "Run jobs": ("BatchProcessingHandler", "BatchJob", "ImageOperation", "ray_session"),
    "Managers": (
        "BatchJobManager",
        "EnhancedJobManager",
        "EnhancedBatchJob",
        "JobWithImages",
        "JobImage",
    ),
    "Analysis exports": (
        "AnalysisExportService",
        "ExportSource",
        "ExportConfig",
        "AnalysisExportTask",
        "ExportRecord",
        "ExportResult",
    ),
    "Tasks": ("ExtensibleTask", "TaskPriority", "TaskResult", "TaskStatus", "ResourceEstimate"),
    "To be extended": ("TaskHandler", "ProcessorExtension", "ResourceProvider"),
    "Errors": ("RayjobsError", "JobError"),
}
OFFERED_BASES = {name for names in GROUPS.values() for name in names}
WIDTH = 110
SECTION = re.compile(r"^(Parameters|Returns|Raises|Yields)\n-+\n", re.MULTILINE)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_page(note: str) -> str:
    """``python.md``, under a note that says where it comes from."""
    places = _offered()
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(places), f"names without a group, or gone: {set(grouped) ^ set(places)}"
    contents = [
        f"- **{heading}**: {', '.join(f'[{name}](#{name.lower()})' for name in names)}"
        for heading, names in GROUPS.items()
    ]
    parts = [f"{note}\n# Python\n", INTRODUCTION, "\n".join(contents) + "\n"]
    for heading, names in GROUPS.items():
        parts.append(f"## {heading}\n")
        for name in names:
            parts += _entry(name, places[name])
    return "\n".join(parts)


def _offered() -> dict[str, Path]:
    """Name -> the file that defines it, from the package's list."""
    stub = (ROOT / "rayjobs" / "__init__.pyi").read_text(encoding="utf-8")
    found = re.findall(r"^from (\S+) import (\w+) as \2$", stub, re.MULTILINE)
    return {name: ROOT / f"{module.replace('.', '/')}.py" for module, name in found}


def _entry(name: str, path: Path) -> Iterator[str]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    node = next(each for each in body if isinstance(each, ast.ClassDef | Function) and each.name == name)
    yield f"### {name}\n"
    source = path.relative_to(ROOT).as_posix()
    module = source.removesuffix(".py").replace("/", ".")
    if isinstance(node, ast.ClassDef):
        yield from _class(node, module)
    else:
        yield f"```python\n{_signature(node, module)}\n```\n"
        yield from _text(node)
    yield f"Source: [{source}](../../{source})\n"


def _class(node: ast.ClassDef, module: str) -> Iterator[str]:
    bases = [ast.unparse(base) for base in node.bases]
    start = next((each for each in node.body if isinstance(each, Function) and each.name == "__init__"), None)
    is_made_by_users = start is not None and "Parameters\n" in (ast.get_docstring(node) or "")
    head = f"class {node.name}"
    if start is not None and is_made_by_users:
        head = _signature(start, module, before=head)
    yield f"```python\n{head}\n```\n"
    yield from _text(node)
    if above := [f"`{base}`" for base in bases if base in OFFERED_BASES]:
        yield f"A {', '.join(above)}, with all that it has.\n"
    if "ClosedOnExit" in bases:
        yield "A `with` block closes it at the end.\n"
    if fields := list(_fields(node)):
        yield "\n".join(fields) + "\n"
    for each in node.body:
        if isinstance(each, Function) and not each.name.startswith("_"):
            yield from _method(node, each, module)


def _method(owner: ast.ClassDef, node: Function, module: str) -> Iterator[str]:
    decorators = {ast.unparse(each) for each in node.decorator_list}
    if {"property", "cached_property"} & decorators:
        kind = ast.unparse(node.returns) if node.returns else "Any"
        yield f"#### {owner.name}.{node.name}\n\n`{node.name}: {kind}`\n"
    else:
        yield f"#### {owner.name}.{node.name}()\n\n```python\n{_signature(node, module)}\n```\n"
    yield from _text(node)


def _signature(node: Function, module: str, *, before: str = "") -> str:
    """As it is called: in one line, or in one per argument."""
    returns = ast.unparse(node.returns) if node.returns else "None"
    end = f" -> {returns}"
    if "contextmanager" in {ast.unparse(each) for each in node.decorator_list}:
        before, end = "with ", f" as {returns.removeprefix('Iterator[').removesuffix(']')}"
    elif before:
        end = ""
    name = node.name if node.name != "__init__" else ""
    arguments = list(_arguments(node.args, module))
    line = f"{before}{name}({', '.join(arguments)}){end}"
    if len(line) <= WIDTH:
        return line
    return f"{before}{name}(\n{''.join(f'    {each},{chr(10)}' for each in arguments)}){end}"


def _arguments(found: ast.arguments, module: str) -> Iterator[str]:
    """All but ``self``; of a default that is a constant of the module, its value."""
    defaults = [None] * (len(found.args) - len(found.defaults)) + found.defaults
    for each, default in zip(found.args, defaults, strict=True):
        if each.arg != "self":
            yield _argument(each, default, module)
    if found.vararg is not None:
        yield f"*{ast.unparse(found.vararg)}"
    elif found.kwonlyargs:
        yield "*"
    for each, default in zip(found.kwonlyargs, found.kw_defaults, strict=True):
        yield _argument(each, default, module)
    if found.kwarg is not None:
        yield f"**{ast.unparse(found.kwarg)}"


def _argument(argument: ast.arg, default: ast.expr | None, module: str) -> str:
    if default is None:
        return ast.unparse(argument)
    is_constant = isinstance(default, ast.Name) and default.id.isupper()
    value = repr(getattr(import_module(module), ast.unparse(default))) if is_constant else ast.unparse(default)
    return f"{ast.unparse(argument)} = {value}"


def _fields(node: ast.ClassDef) -> Iterator[str]:
    """Of a dataclass or an enumeration: each field with what the string under it says."""
    for each, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            name, kind = each.target.id, f": {ast.unparse(each.annotation)}"
            default = f" = {ast.unparse(each.value)}" if isinstance(each.value, ast.Constant) else ""
        elif isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            name, kind, default = each.targets[0].id, "", f" = {ast.unparse(each.value)}"
        else:
            continue
        if name.startswith("_"):
            continue
        said = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            said = f": {_words(str(following.value.value))}"
        yield f"- `{name}{kind}{default}`{said}"


def _text(node: ast.ClassDef | Function) -> Iterator[str]:
    """A docstring in Markdown: paragraphs, then a list for each of its sections."""
    text = ast.get_docstring(node)
    assert text, f"{node.name} has no docstring, and is offered to programs"
    first, *sections = SECTION.split(text)
    yield re.sub(r"``([^`]+)``", r"`\1`", first.strip()) + "\n"
    for heading, content in zip(sections[::2], sections[1::2], strict=True):
        yield f"{heading}\n\n" + "\n".join(_items(content.splitlines())) + "\n"


def _items(lines: Iterable[str]) -> Iterator[str]:
    """A section's entries: a name or type at the margin, what is said of it below."""
    names, said = "", list[str]()
    for line in [*lines, "end"]:
        if line and not line.startswith(" "):
            if names:
                code = ", ".join(f"`{name.strip()}`" for name in names.split(","))
                yield f"- {code}: {_words(' '.join(said))}"
            names, said = line, []
        else:
            said.append(line.strip())


def _words(text: str) -> str:
    return re.sub(r"``([^`]+)``", r"`\1`", " ".join(text.split()))
