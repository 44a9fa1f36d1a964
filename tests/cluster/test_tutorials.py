"""The tutorials, walked as a reader does: every block in its order, in one shell, in an empty directory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import ROOT, environment

TUTORIALS = ROOT / "docs/tutorials"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def script_of(text: str) -> str:
    """The blocks of a page as one script; a job file is saved under the name that the text before it says."""
    parts, end = ["set -euo pipefail"], 0
    for block in FENCE.finditer(text):
        language, content = block.groups()
        if language == "sh":
            parts.append(content)
        elif language == "python":
            parts.append(f"python - <<'END'\n{content}END")
        elif language == "yaml":
            name = re.findall(r"`([\w-]+\.yaml)`", text[end : block.start()])[-1]
            parts.append(f"cat > {name} <<'END'\n{content}END")
        end = block.end()
    return "\n".join(parts)


def plain(line: str) -> str:
    """Without what differs from run to run and from one machine to the next."""
    line = re.sub(r"/\S*/(?=(first-look|lab)/)", "/home/you/", line)
    line = re.sub(r"\babout .* on \d+ CPUs?|[\d.]+ (s|KiB|MiB)\b", "...", line)
    return re.sub(r" +", " ", line).strip()


@pytest.mark.parametrize("page", sorted(TUTORIALS.glob("*.md")), ids=lambda page: page.stem)
def test_a_reader_gets_what_the_page_says(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (tmp_path / "work").mkdir()
    (tmp_path / "work/examples").symlink_to(ROOT / "examples")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script_of(text)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path / "work",
        env=environment(tmp_path / "home", PATH=path),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    said = {plain(line) for line in (done.stdout + done.stderr).splitlines()}
    shown = [line for language, content in FENCE.findall(text) if not language for line in content.splitlines()]
    assert shown
    assert [line for line in shown if plain(line) not in said] == []
