"""``python -m rayjobs``: the same as the console script."""

from __future__ import annotations

import sys

from rayjobs.command_line.cli import main

sys.exit(main())
