"""A contact sheet for notebooks: small pictures with their names, as HTML that needs no file beside it.

Names are hostile text, and are escaped. Pictures are the report's thumbnails made smaller, so that a notebook with
several sheets stays small; what the report doesn't have, or not whole, is made from the image. Colours are those of the
page around it, light or dark.
"""

from __future__ import annotations

import base64
import html
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path

from actors.ledger.ledger_rows import FinalInput
from pipelines.errors import ImageError, storable
from pipelines.stages.thumbnails import (
    FOLDER,
    make_thumbnails,
    original_key,
    shown_image,
    smaller,
    thumbnail_key,
    thumbnail_name,
)
from pipelines.tables import printable, readable_path

SHEET_PX = 160
"""The longer side of a picture."""
MOST = 24
MAKING_S = 2.0
"""A picture that the report doesn't have is made from the image; after so long none is begun any more."""
ORIGINAL = "the original: its result wasn't kept"
UNKNOWN = "the original: its result's preview isn't known; run the job again, or write images if that was in vain"
"""In outputs of a version before, and in those that were rebuilt, until their next run."""
_TILE = f"margin:0;width:{SHEET_PX}px;font-size:12px;overflow-wrap:anywhere"
_EMPTY = (
    f"box-sizing:border-box;width:{SHEET_PX}px;height:{SHEET_PX * 3 // 4}px;padding:8px;border:1px dashed;opacity:.7;"
    "overflow:hidden"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One input on a sheet."""

    name: str
    """As the tables call it."""
    shown: str
    """As much of its end as tells it from the others."""
    said: str = ""
    """Under the name."""
    picture: bytes | None = None
    """A JPEG of at most 160 px per side."""
    note: str = ""
    """What the picture is, where it isn't of what the job made."""
    instead: str = ""
    """Why there is no picture."""


@dataclass(frozen=True, slots=True)
class ContactSheet:
    """Small pictures of some inputs of a job; as the last line of a notebook's cell it shows itself."""

    tiles: tuple[Tile, ...]

    def _repr_html_(self) -> str:
        tiles = "".join(map(_tile, self.tiles))
        return f'<div style="display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start">{tiles}</div>'


def _tile(tile: Tile) -> str:
    name = escaped(tile.shown)
    if tile.picture is None:
        picture = f'<div style="{_EMPTY}">{escaped(tile.instead)}</div>'
    else:
        data = base64.b64encode(tile.picture).decode("ascii")
        picture = f'<img src="data:image/jpeg;base64,{data}" alt="{name}" style="max-width:100%;margin:0">'
    said = f"<br><strong>{escaped(tile.said)}</strong>" if tile.said else ""
    note = f"<br>{escaped(tile.note)}" if tile.note else ""
    return (
        f'<figure style="{_TILE}" title="{escaped(tile.name)}">{picture}<figcaption>{name}{said}{note}</figcaption>'
        "</figure>"
    )


def escaped(said: object) -> str:
    """A text or path as a page may hold it, whatever is in it: also what stands for stray bytes of a file name."""
    text = readable_path(bytes(said)) if isinstance(said, Path) else str(said)
    return html.escape(storable(printable(text)))


def contact_sheet(
    output: Path, inputs: Sequence[FinalInput], said: Iterable[str] = (), *, pixels: str = "", changes: bool = False
) -> ContactSheet:
    """The sheet of some inputs of the job in ``output``, with a line under each name.

    ``pixels`` is the job's digest of what decides them (``JobFacts``), empty when unknown; ``changes``: whether its
    operations do anything.
    """
    maker = _Maker(output, pixels, changes, time.monotonic() + MAKING_S)
    names = [readable_path(each.path) for each in inputs]
    tiles = []
    for final, name, end, line in zip(inputs, names, _ends(names), chain(said, repeat("")), strict=False):
        tile = Tile(name=name, shown=end, said=line)
        if final.status == "done":
            tiles.append(maker.filled(tile, final))
        else:
            tiles.append(replace(tile, instead=": ".join(filter(None, [final.status, final.reason]))))
    return ContactSheet(tuple(tiles))


def _ends(names: Sequence[str]) -> list[str]:
    """The names of the files, each with as many of its directories as tell it from the others."""
    ends: dict[str, str] = {}
    left, parts = set(names), 0
    while left:
        parts += 1
        tails = {name: "/".join(name.rsplit("/", parts)[-parts:]) for name in left}
        bearers = Counter(tails.values())
        ends |= {name: tail for name, tail in tails.items() if bearers[tail] == 1}
        left -= ends.keys()
    return [ends[name] for name in names]


@dataclass(frozen=True, slots=True)
class _Maker:
    """Finds pictures of the inputs of a job, or makes them as long as there is time."""

    output: Path
    pixels: str
    changes: bool
    deadline: float
    """On the monotonic clock."""

    def filled(self, tile: Tile, final: FinalInput) -> Tile:
        """The tile with its picture, or with why there is none."""
        image = shown_image(final.outputs)
        note = ORIGINAL if self.pixels else UNKNOWN
        original = replace(tile, note=note if self.changes and image is None else "")
        asked = [(tile, thumbnail_key(final, self.pixels, image))]
        asked += [(original, original_key(final))] if original.note else []
        for shown, key in asked:
            path = self.output / FOLDER / thumbnail_name(key)
            with suppress(ImageError):  # gone, or damaged: then the image itself is asked
                return replace(shown, picture=smaller(path, SHEET_PX))
        if time.monotonic() > self.deadline:
            return replace(tile, instead="no picture of it yet")
        try:
            if image is None:
                file = Path(os.fsdecode(final.path))
                made = make_thumbnails(file, size=final.size, mtime_ns=final.mtime_ns)
            else:
                made = make_thumbnails(self.output / image.path, sha256=image.sha256)
            return replace(original, picture=smaller(made.plain, SHEET_PX))
        except ImageError as error:
            return replace(tile, instead=f"no picture: {error}")
