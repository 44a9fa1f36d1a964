"""Installs the example plug-ins as a user would, offline, in a directory of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def install_example(directory: Path) -> Path:
    """Build and install both packages below ``directory``; gives what has to be on the path."""
    for name in ("plugin", "plugin-services"):
        source = directory / name  # builds write into their source
        shutil.copytree(EXAMPLES / name, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
        pip_install("--target", str(directory / "installed"), str(source))
    return directory / "installed"


def pip_install(*arguments: str, python: Path | None = None) -> None:
    """Without a network, for this Python or another one."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    pip += ["--python", str(python), "install"] if python else ["install"]
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*pip, *options, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def own_tests(package: Path, *path: Path) -> None:
    """What a package's author does: run its tests in its directory, with what is on the path beside this program."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=package,
        capture_output=True,
        text=True,
        check=False,
        env={
            "PYTHONPATH": ":".join(map(str, [*path, EXAMPLES.parent])),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": "",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
