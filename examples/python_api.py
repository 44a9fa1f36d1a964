"""The Python API in one go: a job over the example photographs, its results as an Arrow table, and an analysis export.

Run it with a directory for its output: ``python examples/python_api.py out/python-api``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rayjobs import BatchProcessingHandler, ExportConfig

PHOTOGRAPHS = Path(__file__).parent / "photographs"


def main(output: Path) -> None:
    with BatchProcessingHandler() as handler:
        job = handler.create_job(
            "python-api",
            operations=["autocontrast", {"unsharp_mask": {"radius": 2, "amount": 0.5}}],
            analyses=["statistics", "sharpness"],
            output=output,
        )
        handler.add_images(job.job_id, [PHOTOGRAPHS])
        handler.start(job.job_id)
        state = handler.wait(job.job_id)
        print(f"{state.name}: {state.status}, {state.done} of {state.total} images")

        table = handler.results(job.job_id, columns=["input", "sharpness_laplacian_variance"])
        for row in table.sort_by([("sharpness_laplacian_variance", "descending")]).to_pylist():
            print(f"{row['sharpness_laplacian_variance']:8.1f}  {Path(row['input']).name}")

        task = handler.export_analyses(job.job_id, ExportConfig(analyses=("color_histogram",), include_effects=False))
        handler.manager.wait_for_task(job.job_id, task.task_id)
        print(f"export {task.status}: {task.result and task.result.report}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/python-api"))
