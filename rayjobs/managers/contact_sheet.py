"""A contact sheet for notebooks: small pictures with their names, as HTML that needs no file beside it.

Names are hostile text, and are escaped. Pictures are the report's thumbnails made smaller, so that a notebook with
several sheets stays small. Colours are those of the page around it, light or dark.
"""

from __future__ import annotations

import base64
import html
import io
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path

from actors.ledger.ledger_rows import FinalInput
from pipelines.stages.thumbnails import FOLDER, make_thumbnails, shown_image, thumbnail_key, thumbnail_name
from pipelines.tables import printable, readable_path

SHEET_PX = 160
"""The longer side of a picture."""
MOST = 24
MAKING_S = 2.0
"""A picture that the report doesn't have is made from the image; after so long none is begun any more."""
_QUALITY = 80
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
    name = html.escape(printable(tile.shown))
    title = html.escape(printable(tile.name))
    if tile.picture is None:
        picture = f'<div style="{_EMPTY}">{html.escape(printable(tile.instead))}</div>'
    else:
        data = base64.b64encode(tile.picture).decode("ascii")
        picture = f'<img src="data:image/jpeg;base64,{data}" alt="{name}" style="max-width:100%;margin:0">'
    said = f"<br><strong>{html.escape(printable(tile.said))}</strong>" if tile.said else ""
    return f'<figure style="{_TILE}" title="{title}">{picture}<figcaption>{name}{said}</figcaption></figure>'


def contact_sheet(output: Path, inputs: Sequence[FinalInput], said: Iterable[str] = ()) -> ContactSheet:
    """The sheet of some inputs of the job in ``output``, with a line under each name."""
    deadline = time.monotonic() + MAKING_S
    names = [readable_path(each.path) for each in inputs]
    tiles = []
    for final, name, end, line in zip(inputs, names, _ends(names), chain(said, repeat("")), strict=False):
        tile = Tile(name=name, shown=end, said=line)
        jpeg = _thumbnail(output, final, deadline) if final.status == "done" else None
        if jpeg is not None:
            tiles.append(replace(tile, picture=_smaller(jpeg)))
        else:
            why = "no picture of it yet" if final.status == "done" else final.status
            tiles.append(replace(tile, instead=": ".join(filter(None, [why, final.reason]))))
    return ContactSheet(tuple(tiles))


def _ends(names: Sequence[str]) -> list[str]:
    """The names of the files, with their directories where several bear one name."""
    last = [name.rpartition("/")[2] for name in names]
    if len(set(last)) == len(set(names)):
        return last
    return ["/".join(name.rsplit("/", 2)[-2:]) for name in names]


def _thumbnail(output: Path, final: FinalInput, deadline: float) -> bytes | None:
    image = shown_image(final.outputs)
    there = output / FOLDER / thumbnail_name(thumbnail_key(final.id, final.size, image))
    if there.is_file():
        return there.read_bytes()
    if time.monotonic() > deadline:
        return None
    made = make_thumbnails(Path(os.fsdecode(final.path)) if image is None else output / image.path)
    return None if made is None else made.plain


def _smaller(jpeg: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(jpeg)) as picture:
        picture.thumbnail((SHEET_PX, SHEET_PX))
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=_QUALITY)
    return written.getvalue()
