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
        created = handler.create_job(
            "python-api",
            operations=["autocontrast", {"unsharp_mask": {"radius": 2, "amount": 0.5}}],
            analyses=["statistics", "sharpness"],
            output=output,
        )
        handler.add_images(created.job_id, [PHOTOGRAPHS])
        handler.start(created.job_id)
        job = handler.open_job(created.job_id).wait()
        state = job.state()
        print(f"{state.name}: {state.status}, {state.done} of {state.total} images")

        table = job.images(["input", "sharpness_laplacian_variance"])
        for row in table.sort_by([("sharpness_laplacian_variance", "descending")]).to_pylist():
            print(f"{row['sharpness_laplacian_variance']:8.1f}  {Path(row['input']).name}")

        config = ExportConfig(analyses=("color_histogram",), include_effects=False)
        task = handler.export_analyses(created.job_id, config)
        handler.manager.wait_for_task(created.job_id, task.task_id)
        print(f"export {task.status}: {task.result and task.result.report}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/python-api"))
