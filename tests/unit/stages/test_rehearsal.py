"""A rehearsal loads what a recipe's images will need, leaves nothing, and passes over what can't be done."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from pipelines.image_io import EncodeOptions, ReadPolicy
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.stages.recipe import Recipe
from pipelines.stages.rehearsal import rehearse

FRESH = """
import sys
from pipelines.image_io import EncodeOptions, ReadPolicy
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.stages.recipe import Recipe
from pipelines.stages.rehearsal import rehearse
OPERATIONS = (ImageOperation("resize", {"max_side": 1024}), ImageOperation("hue_saturation", {"saturation": 1.2}))
rehearse(Recipe(id=0, operations=OPERATIONS, read=ReadPolicy(),
                image=EncodeOptions(format="jpeg"), image_suffixes=(".jpg",),
                analyses=(AnalysisRequest("color_histogram", {}),)))
from pipelines.operations import block_means, colour_kernels, resampling_kernels
from pipelines.analyses import scope_kernels
assert colour_kernels._saturate.signatures, "the operation wasn't done"
assert resampling_kernels._resample.signatures, "nothing was resized"
assert block_means._block_means.signatures, "no thumbnail was made"
assert "scipy.linalg" not in sys.modules, "numba imported what no kernel needs"
assert any(getattr(k, "signatures", None) for k in vars(scope_kernels).values()), "nothing was counted"
"""


def test_a_fresh_process_has_the_kernels_afterwards_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FRESH], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_done_is_left_to_the_images() -> None:
    unknown = (ImageOperation("no_such_operation", {}),)
    rehearse(Recipe(id=0, operations=unknown, read=ReadPolicy(), image=EncodeOptions(format="jpeg")))
    wrong = (AnalysisRequest("no_such_analysis", {}),)
    rehearse(Recipe(id=0, read=ReadPolicy(), analyses=wrong))


def test_noise_stays_small_whatever_size_the_job_writes() -> None:
    large = ImageOperation("resize", {"width": 60_000, "height": 60_000, "mode": "fill"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rehearse(Recipe(id=0, operations=(large,), read=ReadPolicy(), image=EncodeOptions(format="png")))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 2**10
