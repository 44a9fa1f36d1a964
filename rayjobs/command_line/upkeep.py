"""The commands that keep results as they should be: verify, prune, rebuild."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from pipelines.tables import printable
from rayjobs.command_line.exit_codes import EXIT_FAILURES, EXIT_OK
from rayjobs.command_line.printing import print_json
from rayjobs.job.job_state import find_output
from rayjobs.job.output_directory import OutputDirectory

# ---- looking after an output -------------------------------------------------------------------------------------


def verify(arguments: argparse.Namespace) -> int:
    """``rayjobs verify``."""
    from rayjobs.results.published import verify as compare

    output = find_output(arguments.job)
    found = compare(output, deep=arguments.deep)
    if arguments.json:
        differences = [{"path": each.path, "standing": str(each.standing)} for each in found]
        print_json({"output": str(output.root), "equal": not found, "differences": differences})
    else:
        for each in found:
            print(f"{each.standing:<8} {printable(each.path)}")
        how = "contents compared" if arguments.deep else "by size and time; --deep compares contents"
        files = "1 file differs" if len(found) == 1 else f"{len(found):,} files differ"
        print(files if found else f"as it was published ({how})")
    return EXIT_FAILURES if found else EXIT_OK


def prune(arguments: argparse.Namespace) -> int:
    """``rayjobs prune``."""
    from rayjobs.results.pruning import prune as remove_leftovers

    found = remove_leftovers(find_output(arguments.job), remove_them=arguments.yes)
    if arguments.json:
        print_json(found.to_json())
        return EXIT_OK
    if not arguments.yes:
        for path in found.paths:
            print(f"  {printable(path)}")
    print("\n".join(found.lines()))
    return EXIT_OK


def rebuild(arguments: argparse.Namespace) -> int:
    """``rayjobs rebuild``."""
    from rayjobs.results.rebuilding import rebuild as make_again

    path = Path(arguments.job).expanduser()
    output = OutputDirectory(path.resolve()) if path.is_dir() else find_output(arguments.job)
    done = make_again(output)
    if arguments.json:
        print_json({"output": str(output.root), **asdict(done)})
    else:
        print("\n".join(done.lines(output.root)))
    return EXIT_OK
