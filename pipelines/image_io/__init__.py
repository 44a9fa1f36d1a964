"""Image files in and out: bytes to checked pixels, pixels to bytes; the one place where images are decoded.

source_file.py      path -> bytes, with every reason why not; tiff_blocks.py  path -> some rows at a time
image_probe.py      bytes -> header: format by magic, limits before any pixel
image_decoding.py   bytes -> pixels, through the one reader of each format (``*_reader.py``)
colour_profiles.py  profile -> sRGB, or kept; colour_statements.py  what isn't ICC -> profile; exif.py  orientation
written_form.py     which form, and what it loses; metadata.py, exif_block.py  what is said beside the pixels
image_encoding.py   pixels -> bytes (``*_writer.py``)

What is cut off fails as ``truncated``, or becomes what ``ReadPolicy.truncated`` asks for, in the reader of its format.
Which library decodes what, and what is rejected: ``docs/decisions/0010-decoding.md``. Importing this package stays
light.
"""

from __future__ import annotations

from pipelines.image_io.image_decoding import decode_image
from pipelines.image_io.image_encoding import encode_image, encoding_losses
from pipelines.image_io.image_header import DecodedImage, ImageHeader
from pipelines.image_io.image_probe import probe_file, probe_header
from pipelines.image_io.io_policies import DECODING_VERSION, EncodeOptions, ReadPolicy, format_of, suffix_of
from pipelines.image_io.source_file import open_source, read_bytes

__all__ = [
    "DECODING_VERSION",
    "DecodedImage",
    "EncodeOptions",
    "ImageHeader",
    "ReadPolicy",
    "decode_image",
    "encode_image",
    "encoding_losses",
    "format_of",
    "open_source",
    "probe_file",
    "probe_header",
    "read_bytes",
    "suffix_of",
]
