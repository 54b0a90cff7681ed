"""Datasets in several files, work in shards on one machine and on clusters, and what a restart skips."""

import subprocess
import sys

import numpy as np
import pytest

from conftest import HERE, make_clip
from ulna.core import InputError, MissingError, UlnaWarning, Workers, get_skeleton, write_shards
from ulna.dataset import Dataset, DatasetError, Windows, prepare
from ulna.formats import BadFileError
from write_files import write_npz, write_ntu

SIZES = [3, 8, 5, 4, 9, 2, 7]


def clips_of(count=7):
    return [make_clip(f"c{i}", SIZES[i % 7], seed=i, label="ab"[i % 2]) for i in range(count)]


def same_clips(one, two):
    """Whether two datasets have the same clips, wherever their frames are."""
    assert one.ids == two.ids
    assert one.hashes.to_pylist() == two.hashes.to_pylist()
    assert one.splits == two.splits
    everything = np.arange(one.num_clips)
    for a, b in zip(one.read(everything, 6), two.read(everything, 6), strict=True):
        assert np.array_equal(a, b)


def test_a_dataset_of_several_files_is_one_dataset(tmp_path):
    clips = clips_of()
    one = Dataset.write(tmp_path / "one", clips)
    many = Dataset.write(tmp_path / "many", clips, frames_per_shard=10)
    assert many.description.shards == (11, 18, 9)
    same_clips(one, many)
    backwards = np.arange(7)[::-1]
    assert np.array_equal(one.read(backwards)[0], many.read(backwards)[0])
    for part in (slice(0, 3), slice(9, 14), slice(0, 38), slice(38, 38)):
        assert np.array_equal(one.frames[part], many.frames[part])
        assert np.array_equal(one.visible[part], many.visible[part])
    for clip in range(7):
        assert np.array_equal(one.clip(clip).position, many.clip(clip).position)
    many.verify()
    assert one.fingerprint != many.fingerprint


def test_optional_arrays_of_some_shards(tmp_path):
    clips = [make_clip(f"c{i}", 6, seed=i) for i in range(4)]
    confident = [
        clip if i != 2 else type(clip)(**{**vars(clip), "confidence": np.full(clip.visible.shape, 0.5, np.float32)})
        for i, clip in enumerate(clips)
    ]
    dataset = Dataset.write(tmp_path / "d", confident, frames_per_shard=6)
    assert len(dataset.description.shards) == 4
    assert [dataset.clip(i).confidence is None for i in range(4)] == [True, True, False, True]
    assert dataset.confidence.shape == (24, 1, 20)


@pytest.mark.parametrize("harm", ["missing", "short", "changed"])
def test_damaged_shards_are_named(tmp_path, harm):
    Dataset.write(tmp_path / "d", clips_of(), frames_per_shard=10)
    file = tmp_path / "d" / "frames-00001.npy"
    content = file.read_bytes()
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-4] + (b"" if harm == "short" else b"\0\0\0\1"))
    with pytest.raises(DatasetError, match=r"frames-00001.npy: expected .* Prepare the dataset again"):
        Dataset(tmp_path / "d").verify(recheck=True)


def files_of(folder, count=9):
    for number in range(count):
        write_ntu(
            folder / f"S001C00{number % 3 + 1}P001R001A00{number + 1}.skeleton", num_frames=4 + number, seed=number
        )


def sharded(folder, out, **options):
    return prepare("ntu", folder, out, workers=Workers(**{"shard_size": 4, "workers": 1} | options), progress=False)


@pytest.mark.parametrize("workers", [1, 2])
def test_preparing_in_shards_gives_the_same_clips(tmp_path, workers):
    (tmp_path / "files").mkdir()
    files_of(tmp_path / "files")
    one = prepare("ntu", tmp_path / "files", tmp_path / "one", progress=False)
    many = sharded(tmp_path / "files", tmp_path / "many", workers=workers)
    assert len(many.description.shards) == 3
    same_clips(one, many)
    assert not list(tmp_path.glob("*unfinished*"))


def test_a_restart_skips_finished_shards(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    files_of(folder)
    last = folder / "S001C003P001R001A009.skeleton"

    last.write_text("1\nx\n")
    with pytest.raises(BadFileError, match=r"A009.skeleton, line 2"):
        sharded(folder, tmp_path / "d")
    work = tmp_path / "d.unfinished"
    assert len(list(work.glob("shard-*"))) == 2
    with pytest.raises(InputError, match="unfinished dataset of the same files and options"):
        sharded(folder, tmp_path / "d", shard_size=3)
    with pytest.warns(UlnaWarning, match="2 shards of an interrupted run were kept"):
        dataset = prepare(
            "ntu", folder, tmp_path / "d", workers=Workers(shard_size=4, workers=1), skip_bad=True, progress=False
        )
    assert dataset.num_clips == 8
    assert "A009" in (tmp_path / "d" / "rejected.csv").read_text()
    assert not work.exists()


def test_files_without_clips_leave_no_shard(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    files_of(folder)
    for file in sorted(folder.iterdir())[4:8]:
        file.write_text("x")
    with pytest.warns(UlnaWarning):
        dataset = prepare(
            "ntu", folder, tmp_path / "d", workers=Workers(shard_size=4, workers=1), skip_bad=True, progress=False
        )
    assert dataset.num_clips == 5
    assert len(dataset.description.shards) == 2


def test_windows_and_annotations_in_shards(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(5):
        write_npz(folder / f"r{number}.npz", num_frames=30 + number)
    (tmp_path / "labels.csv").write_text(
        "file,start,end,label\n" + "".join(f"r{i},0.2,0.8,walk\n" for i in range(4)) + "other,0,1,run\n"
    )
    windows = Windows(window=0.5, annotations=tmp_path / "labels.csv", persons="separate")
    made = []
    for name, workers in (("one", 1), ("many", Workers(shard_size=2, workers=1))):
        with pytest.warns(UlnaWarning, match="unknown recordings: other"):
            made.append(prepare("npz", folder, tmp_path / name, windows=windows, workers=workers, progress=False))
    same_clips(*made)
    assert (made[1].labels >= 0).any()
    (tmp_path / "shared.csv").write_text("start,end,label\n0,1,walk\n")
    with pytest.raises(InputError, match="expected a column `file`"):
        prepare(
            "npz", folder, tmp_path / "no", windows=Windows(annotations=tmp_path / "shared.csv"),
            workers=Workers(shard_size=1, workers=1), progress=False,
        )  # fmt: skip


def _write_number(number, path):
    path.write_text(str(number))


def test_shards_that_exist_are_not_written_again(tmp_path):
    paths = {tmp_path / str(number): number for number in range(4)}
    (tmp_path / "2").write_text("earlier")
    assert write_shards(_write_number, paths, Workers(workers=1)) == 1
    assert [path.read_text() for path in paths] == ["0", "1", "earlier", "3"]


@pytest.mark.parametrize(("backend", "package"), [("ray", "ray"), ("dask", "distributed")])
def test_backends_that_are_not_installed(tmp_path, monkeypatch, backend, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingError, match=rf"Install it: pip install 'ulna\[{backend}\]'"):
        write_shards(_write_number, {tmp_path / "1": 1}, Workers(backend=backend))
