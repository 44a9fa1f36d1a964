"""Make the web site of the documentation, which opens from the disk and needs no network.

    python -m docs.site [DIR]

Pages are the Markdown files of the checkout, at their places; a file that one of them links to becomes a page with its
text. Links are those of the checkout, rewritten only where names differ. The sidebar is what ``docs/README.md``
lists below its headings, in that order. Warnings are errors. Nothing is written but the site itself, to a directory
that is new, empty, or has an earlier site; and to that only when all of it is made.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INDEX = ROOT / "docs" / "README.md"
PROJECT = ("CONTRIBUTING.md", "CHANGELOG.md", "README.zh-CN.md")
"""Below the last heading of the sidebar."""
PICTURES = {".png", ".jpg", ".svg"}
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"(?<=\]\()([^)\s#]+)")
OURS = b"# Sphinx inventory version 2\n# Project: Rayjobs\n"
"""What ``objects.inv`` of a site begins with."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".ipynb": "json", ".toml": "toml"}


def pages() -> list[Path]:
    """Every Markdown file of the checkout that is a page."""
    folders = [ROOT / name for name in ("docs", "examples", "benchmarks")]
    return sorted([*ROOT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*.md"))])


def place_of(path: Path) -> Path:
    """Where a file of the checkout lies in the source of the site: a folder's README is its index, others are pages."""
    place = path.relative_to(ROOT)
    if path.name == "README.md":
        return place.with_name("index.md")
    return place if path.suffix in {".md", *PICTURES} else place.with_name(f"{place.name}.md")


@dataclass
class Source:
    """The pages as Sphinx reads them, and the files that they link to."""

    linked: set[Path] = field(default_factory=set)

    def page(self, path: Path) -> str:
        """The text of a page with its links as they are in the site."""
        text, end, parts = path.read_text(encoding="utf-8"), 0, []
        for code in CODE.finditer(text):
            parts += [self._prose(text[end : code.start()], path), code.group()]
            end = code.end()
        return "".join([*parts, self._prose(text[end:], path)])

    def _prose(self, text: str, page: Path) -> str:
        return TARGET.sub(lambda match: self._target(match.group(), page), text)

    def _target(self, target: str, page: Path) -> str:
        if re.match(r"[a-z]+:", target):
            return target
        file = (page.parent / target).resolve()
        if file.is_dir():
            file /= "README.md"
        if file.suffix != ".md":
            self.linked.add(file)
        return os.path.relpath(place_of(file), place_of(page).parent)


def listed() -> dict[str, list[Path]]:
    """The sidebar: headings of the index -> the pages of the documentation that it lists below each."""
    sections: dict[str, list[Path]] = {}
    for part in INDEX.read_text(encoding="utf-8").split("\n## ")[1:]:
        targets = re.findall(r"\]\(([^)#]+\.md)\)", part)
        sections[part.partition("\n")[0]] = [(INDEX.parent / target).resolve() for target in targets]
    return sections | {"Project": [ROOT / name for name in PROJECT]}


def sidebar() -> Iterator[str]:
    """Sphinx's lists of pages."""
    for caption, below in listed().items():
        names = "\n".join(place_of(path).with_suffix("").as_posix() for path in below)
        yield f"\n```{{toctree}}\n:hidden:\n:maxdepth: 1\n:caption: {caption}\n\n{names}\n```\n"


def file_page(path: Path) -> str:
    """A file of the checkout as a page of its own."""
    language = LANGUAGES.get(path.suffix, "text")
    text = path.read_text(encoding="utf-8")
    head = f"---\norphan: true\nnosearch: true\n---\n# {path.relative_to(ROOT)}\n\n"
    return f"{head}````````{{code-block}} {language}\n{text}\n````````\n"


def write_source(target: Path) -> None:
    """Write what Sphinx reads."""
    source = Source()
    texts = {path: source.page(path) for path in pages()}
    known = {INDEX, ROOT / "README.md"}.union(*listed().values())
    for path in texts.keys() - known:
        texts[path] = f"---\norphan: true\n---\n{texts[path]}"
    texts[INDEX] = f"---\norphan: true\n---\n{texts[INDEX]}"
    texts[ROOT / "README.md"] += "".join(sidebar())
    texts |= {path: file_page(path) for path in source.linked if path.suffix not in PICTURES}
    for path, text in texts.items():
        place = target / place_of(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    for picture in (path for path in source.linked if path.suffix in PICTURES):
        place = target / place_of(picture)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, place)


def build(source: Path, doctrees: Path, site: Path) -> int:
    """Let Sphinx make the site; the exit code is 1 if it warned of anything."""
    from sphinx.application import Sphinx

    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    settings = {
        "project": "Rayjobs",
        "release": version,
        "extensions": ["myst_parser"],
        "myst_heading_anchors": 6,
        "highlight_language": "text",
        "suppress_warnings": ["misc.highlighting_failure"],  # outputs that stand where JSON would, with "..."
        "html_theme": "furo",
        "html_title": f"Rayjobs {version}",
        "html_use_index": False,
        "html_copy_source": False,
        "html_show_sourcelink": False,
        "html_show_copyright": False,
        "html_show_sphinx": False,
        "html_static_path": [str(ROOT / "docs" / "site.css")],
        "html_css_files": ["site.css"],
    }
    sphinx = Sphinx(
        srcdir=source,
        confdir=None,
        outdir=site,
        doctreedir=doctrees,
        buildername="html",
        confoverrides=settings,
        status=None,
        freshenv=True,
        warningiserror=True,
    )
    sphinx.build()
    return sphinx.statuscode


def takes_site(place: Path) -> bool:
    """Whether a site written there replaces nothing of anybody's: nothing is there yet, or an earlier site."""
    try:
        return not any(place.iterdir()) or (place / "objects.inv").read_bytes().startswith(OURS)
    except FileNotFoundError:
        return not os.path.lexists(place)
    except OSError:
        return False


def main(arguments: Sequence[str]) -> int:
    """Make the site in a directory, by default ``out/site``."""
    site = Path(arguments[0]) if arguments else ROOT / "out" / "site"
    if not takes_site(site):
        sys.stderr.write(f"{site} isn't an empty directory, and has no site of this program; give another one\n")
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        source, made = Path(temporary, "source"), Path(temporary, "site")
        write_source(source)
        code = build(source, Path(temporary, "doctrees"), made)
        if not code:
            shutil.copytree(made, site, dirs_exist_ok=True)
            sys.stdout.write(f"{site / 'index.html'}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
