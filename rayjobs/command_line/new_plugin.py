"""``rayjobs new-plugin``: a package of one's own to begin with, which is ``examples/plugin`` under another name."""

from __future__ import annotations

import argparse
import keyword
import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from pipelines.errors import JobError
from pipelines.extensions.extension_adapters import NAME, NAME_RULE, ExtensionKind, registries
from pipelines.extensions.extension_manager import process_extensions
from rayjobs.command_line.exit_codes import EXIT_OK
from rayjobs.command_line.printing import print_json

EXAMPLE = "vignette"
"""What everything in the template is called."""
_FILES = re.compile(r"(pyproject\.toml|README\.md|.*\.py)")
"""What belongs to the package; beside it an example that was used has what Python and its builds leave behind."""
_KINDS = (ExtensionKind.PROCESSOR, ExtensionKind.ANALYSIS, ExtensionKind.CHART)


def new_plugin(arguments: argparse.Namespace) -> int:
    """``rayjobs new-plugin``."""
    name: str = arguments.name
    _check_name(name)
    files = plugin_files(name)
    _write(Path(name), files)
    if arguments.json:
        print_json({"name": name, "directory": str(Path(name).resolve()), "files": sorted(files)})
        return EXIT_OK
    for file in sorted(files):
        print(f"{name}/{file}")
    print(
        f"\nInstall it, test it, and use it in a job file that says `plugins: [{name}]`:\n"
        f"  pip install -e ./{name}\n"
        f"  python -m pytest ./{name}\n"
        f"  rayjobs run job.yaml --allow-plugin {name}"
    )
    return EXIT_OK


def plugin_files(name: str) -> dict[str, str]:
    """Path inside the package -> text, of a plug-in of this name."""
    found: dict[str, str] = {}

    def collect(folder: Traversable, way: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                collect(entry, f"{way}{entry.name}/")
            elif _FILES.fullmatch(entry.name):
                found[f"{way}{entry.name}".replace(EXAMPLE, name)] = entry.read_text("utf-8").replace(EXAMPLE, name)

    collect(resources.files("rayjobs") / "templates" / "plugin", "")
    return found


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        meant = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")
        if meant and (keyword.iskeyword(meant) or not NAME.fullmatch(meant)):
            meant = f"my_{meant}"
        near = f"; did you mean {meant!r}?" if NAME.fullmatch(meant) else ""
        raise JobError(f"{name!r} can't be the name of a plug-in: {NAME_RULE}{near}")
    taken = next((table.kind for kind in _KINDS for table in registries(kind) if name in table), None)
    if taken is not None:
        a = "an" if taken[0] in "ao" else "a"
        raise JobError(f"there is {a} {taken} {name!r} already; give the plug-in another name, such as 'my_{name}'")
    installed = [extension.distribution for extension in process_extensions().discover() if extension.name == name]
    if installed:
        raise JobError(f"{installed[0]} is installed and has a plug-in {name!r}; give yours another name")


def _write(directory: Path, files: dict[str, str]) -> None:
    """Write the package where nothing is yet."""
    try:
        directory.mkdir()
        for path, text in files.items():
            (directory / path).parent.mkdir(exist_ok=True)
            with (directory / path).open("x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError as error:
        raise JobError(f"{directory} exists; nothing was changed in it: give another name, or move it away") from error
    except OSError as error:
        raise JobError(f"{error.filename or directory}: {error.strerror}") from error
