"""What older versions called the products of a job, and which inputs their changes since then can't have touched.

A version is raised for every input, though mostly some inputs alone come out otherwise. A product whose digest is an
older one counts as known for inputs of the class that the change left alone, and is made anew for the others. What
was raised and is listed here was compared between the versions (``tests/older_results.py``); what isn't listed
counts as touched. A column that an analysis has gained since then is empty in the rows that come over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from actors.ledger.job_ledger import JobLedger
from actors.ledger.product_plan import ANALYSIS, CHART, IMAGE, carry_products
from pipelines import cache_keys
from pipelines.charts import charts_of
from pipelines.errors import ImageError
from pipelines.image_io import ImageHeader, ReadPolicy, probe_file
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.operations import OPERATIONS
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.product_keys import DECIDING_PACKAGES, OUR_DECODING, digest_of, versions

_OPERATIONS = {
    "unsharp_mask": (2, 3),
    "resize": (2, 3),
    **dict.fromkeys(("gaussian", "median", "denoise", "autocontrast", "equalize", "clahe", "white_balance"), (1, 2)),
}
"""Operation -> version in outputs of format 2, version that gives plain images the same pixels.

Of others that were raised no older output has the digest, so they are made anew."""
_SAME_UP_TO = {"unsharp_mask": ("radius", 2.0), "gaussian": ("sigma", 3.0)}
"""Wider ones are computed in another way since then, and differ in all images."""
_ANALYSES = {
    "color_histogram": (1, 3),
    "luma_waveform": (1, 3),
    "rgb_parade": (1, 3),
    "hue_histogram": (1, 3),
    "saturation_histogram": (1, 3),
    "lab_chromaticity": (3, 4),
    **dict.fromkeys(("statistics", "sharpness", "texture", "image_hash"), (1, 2)),
}
"""Analysis -> the same of numbers. Noise and objects measure otherwise since then."""
_GAINED = {"statistics": ("significant_bits", None)}
"""Analysis -> the parameter that it didn't have, and what it says of nothing."""
_FORMATS = ("jpeg", "png", "webp", "avif")
"""Of images that are written as they were; TIFF says more since then."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A product of format 2 that plain images may keep."""

    then: str
    """What it was called, and its digest."""
    then_digest: str
    now: str
    now_digest: str


def older_products(spec: JobSpec, wanted: Mapping[str, str]) -> list[Carried]:
    """The products of outputs of format 2 that plain images may keep.

    Empty when the job asks for something that this version didn't know, or that has changed for every image.
    """
    steps = _older_steps(spec)
    if steps is None or spec.plugins or spec.read.frames != "first" or spec.read.truncated != "strict":
        return []
    packages = {name: version for name, version in versions(DECIDING_PACKAGES).items() if name != OUR_DECODING}
    pixels = digest_of(steps, spec.read.model_dump(), packages, {})
    found: list[Carried] = []

    def carry(now: str, digest: str, then: str | None = None) -> None:
        if now in wanted:
            found.append(Carried(then or now, digest, now, wanted[now]))

    images = spec.export.images
    if images is not None and images.format in _FORMATS and images.metadata == "strip":
        chosen = images.model_dump(exclude={"on_conflict", "name", "chroma", "set"})
        layout = chosen.pop("layout")
        is_known = images.chroma is None and images.quality != "lossless" and not any(_credits(spec))
        if is_known and layout == "mirror":
            carry(IMAGE, digest_of(pixels, chosen))
    charts = spec.export.charts
    for request in spec.analyses:
        older = _as_then(request)
        if older is None or cache_keys.named_contents(request):
            continue
        digest = digest_of(pixels, _ANALYSES[request.name][0])
        carry(ANALYSIS + request.canonical(), digest, ANALYSIS + older.canonical())
        if charts is not None and charts.engine == "fast" and charts.format == "png" and charts_of([request]):
            carry(CHART + request.name, digest_of(digest, older.canonical(), charts.model_dump(), {}))
    return found


def _as_then(request: AnalysisRequest) -> AnalysisRequest | None:
    """An analysis as it was asked for then; None when it couldn't be, or measures otherwise now."""
    if request.name not in _ANALYSES:
        return None
    params = dict(request.params)
    name, nothing = _GAINED.get(request.name, ("", None))
    return AnalysisRequest(request.name, params) if params.pop(name, nothing) == nothing else None


def _credits(spec: JobSpec) -> tuple[str | None, ...]:
    images = spec.export.images
    return () if images is None else (images.set.copyright, images.set.artist)


def _older_steps(spec: JobSpec) -> list[list[object]] | None:
    """What decided the pixels of each step then; None: one of them gives other pixels now."""
    steps = []
    for operation in spec.operations:
        said, files, version = cache_keys.step_key(operation)
        if files:
            return None
        then, same = _OPERATIONS.get(operation.name, (version, version))
        if version != same:
            return None
        if not _is_narrow(operation):
            return None
        steps.append([said, files, then])
    return steps


def _is_narrow(operation: ImageOperation) -> bool:
    if operation.name not in _SAME_UP_TO:
        return True
    name, most = _SAME_UP_TO[operation.name]
    parameters = OPERATIONS[operation.name].parameters(**operation.params)
    return bool(getattr(parameters, name) <= most)


def is_plain(header: ImageHeader) -> bool:
    """Whether no change since format 2 can have touched what an image decodes to, by what its header says.

    So is a single upright frame of JPEG or PNG in 8 bits, gray or RGB, without alpha, and without a colour profile or a
    statement of colours, and with nothing odd about it.
    """
    return (
        header.format in ("jpeg", "png")
        and header.dtype == "uint8"
        and header.channels in (1, 3)
        and header.space != "cmyk"
        and header.icc is None
        and header.orientation == 1
        and header.frames == 1
        and not header.notes
    )


def carry_older(ledger: JobLedger, spec: JobSpec, wanted: Mapping[str, str], read: ReadPolicy) -> int:
    """Let products of an older version count as known for the inputs that no change since then can have touched.

    Each input that has such a product is looked at once: it has the present digests then, or lacks the product.
    Returns how many inputs kept one.
    """
    older = older_products(spec, wanted)
    kept = 0
    for number, products in ledger.recipes().items():
        carried = [each for each in older if products.get(each.then) == each.then_digest != each.now_digest]
        if carried:
            others = {name: products[name] for name in products.keys() - {each.then for each in carried}}
            renewed = others | {each.now: each.now_digest for each in carried}
            kept += carry_products(ledger, number, renewed, lambda path: _is_plain_file(path, read))
    return kept


def _is_plain_file(path: bytes, read: ReadPolicy) -> bool:
    try:
        return is_plain(probe_file(path, read))
    except ImageError:
        return False
