"""The commands that keep a Ray on this machine between jobs: up, down."""

from __future__ import annotations

import argparse
import os
import sys

from rayjobs.command_line.exit_codes import EXIT_OK
from rayjobs.command_line.printing import print_json
from rayjobs.run import kept_ray

IDLE_MINUTES = 60
MOST_MINUTES = 7 * 24 * 60


def idle_minutes(text: str) -> int:
    """A number of minutes, as the command line takes it."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_MINUTES):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a number of minutes from 1 to {MOST_MINUTES:,}")
    return int(text)


def up(arguments: argparse.Namespace) -> int:
    """``rayjobs up``."""
    kept, started = kept_ray.start(arguments.idle * 60.0)
    if os.environ.get("RAY_ADDRESS"):
        print("rayjobs: note: RAY_ADDRESS is set: jobs go to that cluster, not to this Ray", file=sys.stderr)
    if arguments.json:
        print_json(
            {
                "started": started,
                "address": kept.address,
                "cpus": kept.cpus,
                "since": kept.since,
                "idle_minutes": round(kept.idle_s / 60),
                "holders": list(kept.holders),
                "ends": kept.ends,
            }
        )
        return EXIT_OK
    print(f"Ray is up{'' if started else ' already'}: {kept.text()}")
    if started:
        print("jobs that are run from here use it by themselves; `rayjobs down` ends it")
    return EXIT_OK


def down(arguments: argparse.Namespace) -> int:
    """``rayjobs down``."""
    ended = kept_ray.end()
    if arguments.json:
        print_json({"ended": ended})
    else:
        print("Ray has ended" if ended else "no Ray is up")
    return EXIT_OK
