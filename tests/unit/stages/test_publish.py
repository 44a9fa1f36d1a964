"""Output files appear whole, and never over a stranger's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import FailedReason, ImageError
from pipelines.stages.publish import Publisher
from pipelines.stages.worker_journal import Published, WorkerJournal, inputs_in_hand, published_files
from pipelines.storage.local_files import sha256_of


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    (tmp_path / "tmp").mkdir()
    journal = WorkerJournal(tmp_path / "tmp")
    yield Publisher(tmp_path / "out", tmp_path / "tmp", journal)
    journal.close()


def leftovers(tmp_path: Path) -> list[str]:
    return [p.name for p in (tmp_path / "tmp").iterdir() if not p.name.endswith((".journal", ".hung"))]


def test_file_appears_with_its_sha_and_no_temporary_stays(publisher: Publisher, tmp_path: Path) -> None:
    output = publisher.publish("image", "images/a/b.jpg", b"pixels")
    assert (tmp_path / "out/images/a/b.jpg").read_bytes() == b"pixels"
    assert output.sha256 == hashlib.sha256(b"pixels").hexdigest() == sha256_of(tmp_path / "out/images/a/b.jpg")
    assert output.bytes == 6
    assert leftovers(tmp_path) == []


def test_same_bytes_are_adopted(publisher: Publisher, tmp_path: Path) -> None:
    first = publisher.publish("image", "a.jpg", b"pixels")
    inode = (tmp_path / "out/a.jpg").stat().st_ino
    assert publisher.publish("image", "a.jpg", b"pixels") == first
    assert (tmp_path / "out/a.jpg").stat().st_ino == inode


def test_draft_appears_when_it_is_published(publisher: Publisher, tmp_path: Path) -> None:
    with publisher.draft("images/a.tif") as draft:
        draft.write(b"xxxxels")
        draft.seek(0)
        draft.write(b"pix")
        assert not (tmp_path / "out/images/a.tif").exists()
        output = publisher.publish_draft("image", "images/a.tif", draft)
    assert (tmp_path / "out/images/a.tif").read_bytes() == b"pixxels"
    assert (output.sha256, output.bytes) == (hashlib.sha256(b"pixxels").hexdigest(), 7)
    assert leftovers(tmp_path) == []


def test_draft_that_is_given_up_leaves_nothing(publisher: Publisher, tmp_path: Path) -> None:
    with publisher.draft("a.tif") as draft:
        draft.write(b"half")
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "out/a.tif").exists()


def test_draft_replaces_only_what_is_ours(publisher: Publisher, tmp_path: Path) -> None:
    first = publisher.publish("image", "a.tif", b"one")
    with publisher.draft("a.tif") as draft:
        draft.write(b"two")
        with pytest.raises(ImageError, match="not this job's"):
            publisher.publish_draft("image", "a.tif", draft)
        second = publisher.publish_draft("image", "a.tif", draft, known={first.sha256})
    assert (tmp_path / "out/a.tif").read_bytes() == b"two"
    with publisher.draft("a.tif") as draft:
        draft.write(b"two")
        assert publisher.publish_draft("image", "a.tif", draft) == second


def test_foreign_file_stays_unless_the_job_says_overwrite(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.jpg").write_bytes(b"mine")
    with pytest.raises(ImageError, match=r"a\.jpg exists and is not this job's") as caught:
        publisher.publish("image", "a.jpg", b"pixels")
    assert caught.value.reason is FailedReason.WRITE_ERROR
    assert (tmp_path / "out/a.jpg").read_bytes() == b"mine"
    publisher.publish("image", "a.jpg", b"pixels", overwrite=True)
    assert (tmp_path / "out/a.jpg").read_bytes() == b"pixels"
    assert leftovers(tmp_path) == []


def test_own_file_of_an_earlier_plan_is_replaced(publisher: Publisher, tmp_path: Path) -> None:
    old = publisher.publish("image", "a.jpg", b"old look")
    publisher.publish("image", "a.jpg", b"new look", known=[old.sha256])
    assert (tmp_path / "out/a.jpg").read_bytes() == b"new look"


def test_link_out_of_the_output_is_not_followed(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ImageError, match="images is a link, not a directory; links are not followed on output"):
        publisher.publish("image", "images/a.jpg", b"pixels")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_link_within_the_output_is_not_followed_either(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "out/mine").mkdir(parents=True)
    (tmp_path / "out/images").symlink_to("mine")
    with pytest.raises(ImageError, match="links are not followed"):
        publisher.publish("image", "images/sub/a.jpg", b"pixels")
    assert list((tmp_path / "out/mine").iterdir()) == []


def test_directory_in_the_place_of_a_file_stays(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "out/a.jpg").mkdir(parents=True)
    with pytest.raises(ImageError, match="not this job's"):
        publisher.publish("image", "a.jpg", b"pixels", overwrite=True)
    assert (tmp_path / "out/a.jpg").is_dir()


def test_link_in_the_place_of_a_file_is_not_written_through(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "out/a.jpg").symlink_to(tmp_path / "precious")
    for overwrite in (False, True):
        with pytest.raises(ImageError, match="not this job's"):
            publisher.publish("image", "a.jpg", b"pixels", overwrite=overwrite)
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "out/a.jpg").is_symlink()


def test_own_file_that_somebody_changed_is_not_replaced(publisher: Publisher, tmp_path: Path) -> None:
    old = publisher.publish("image", "a.jpg", b"old look")
    (tmp_path / "out/a.jpg").write_bytes(b"retouched")
    with pytest.raises(ImageError, match="was changed since"):
        publisher.publish("image", "a.jpg", b"new look", known=[old.sha256])
    assert (tmp_path / "out/a.jpg").read_bytes() == b"retouched"


def test_name_that_no_file_system_takes_is_a_failure_of_the_input(publisher: Publisher) -> None:
    with pytest.raises(ImageError) as caught:
        publisher.publish("image", "x" * 300 + ".jpg", b"pixels")
    assert caught.value.reason is FailedReason.NAME_INVALID


def test_journal_knows_files_and_the_input_in_hand(publisher: Publisher, tmp_path: Path) -> None:
    journal = WorkerJournal(tmp_path / "tmp")
    journal.started(1)
    journal.idle()
    journal.started(2)
    published = publisher.publish("image", "a.jpg", b"pixels")
    with next((tmp_path / "tmp").glob("*.journal")).open("ab") as torn:
        torn.write(b'["started", 7')  # what a kill in the middle of a line leaves
    journal.close()
    assert [found.input for found in inputs_in_hand(tmp_path / "tmp")] == [2]
    assert list(published_files(tmp_path / "tmp")) == [Published("a.jpg", published.sha256, None)]
