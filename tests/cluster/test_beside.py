"""A job with images beside their sources: what lies there is what the manifest says, and a stranger's file stays."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.runs import manifest, rayjobs, write_job, write_photographs


def test_images_beside_sources_are_those_of_the_manifest(tmp_path: Path) -> None:
    sources = write_photographs(tmp_path / "photos", 4)
    before = {path: path.read_bytes() for path in sources}
    foreign = tmp_path / "out/charts/color_histogram/photos/photo-0001-2.png"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"not the job's")
    images = {"format": "jpeg", "layout": "beside", "name": "{stem}"}
    job = write_job(tmp_path, analyses=["color_histogram"], export={"images": images, "charts": True})
    assert rayjobs("run", job, home=tmp_path).code == 0
    rows = manifest(tmp_path / "out")
    assert {row["status"] for row in rows} == {"done"}
    assert [Path(entry["path"]).name for entry in rows[1]["outputs"]] == ["photo-0001-3.jpg", "photo-0001-3.png"]
    assert foreign.read_bytes() == b"not the job's"
    listed = {(tmp_path / "out" / entry["path"]).resolve(): entry for row in rows for entry in row["outputs"]}
    assert set((tmp_path / "photos").iterdir()) - set(sources) == {path for path in listed if path.suffix == ".jpg"}
    for path, entry in listed.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    assert {path: path.read_bytes() for path in sources} == before
    again = rayjobs("run", job, "--json", home=tmp_path)
    assert again.json["total"] == len(sources)
