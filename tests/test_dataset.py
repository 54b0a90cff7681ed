"""Datasets, packing, batches, the batch plan."""

import dataclasses
import json
import time

import numpy as np
import pytest
import torch

from conftest import make_clip
from ulna.batch import Batch, BatchPlan, ClipLoader, Packing, load_batch
from ulna.core import Clip, InputError, get_skeleton
from ulna.dataset import Dataset, DatasetError
from ulna.encoders.gl_transformer import absent_persons


def test_clips_read_equal_clips_written(dataset):
    clip = dataset.clip(3)
    original = make_clip("clip03", 7, label="fast", seed=3, speed=0.1)
    assert (clip.position == original.position).all()
    assert (clip.id, clip.label, clip.subject, clip.splits) == ("clip03", "fast", 3, {"half": "test"})
    assert dataset.labels[3] == 1
    assert dataset.num_clips == 40
    assert [len(part) for part in dataset.split("half")] == [20, 20]
    assert len(set(dataset.table["hash"].to_pylist())) == 40
    dataset.verify()


def test_changed_bytes_are_found(tmp_path):
    path = tmp_path / "dataset"
    Dataset.write(path, [make_clip("a", 9)], skeleton=get_skeleton("kinect_v1")).verify()
    content = bytearray((path / "frames.npy").read_bytes())
    content[-1] ^= 1
    (path / "frames.npy").write_bytes(content)
    with pytest.raises(DatasetError, match="changed bytes"):
        Dataset(path).verify()
    (path / "frames.npy").write_bytes(content[:-4])
    with pytest.raises(DatasetError, match=r"expected \d+ bytes, found \d+"):
        Dataset(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d | {"version": 0}, "version 2, found version 0"),
        (lambda d: d | {"version": 1}, "version 2, found version 1"),
        (lambda d: d | {"classes": ["other"]}, "description the dataset was written with"),
    ],
)
def test_other_descriptions_are_refused(tmp_path, change, message):
    path = tmp_path / "dataset"
    Dataset.write(path, [make_clip("a", 9)], skeleton=get_skeleton("kinect_v1"))
    file = path / "dataset.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(DatasetError, match=message):
        Dataset(path)


@pytest.mark.parametrize("counted", [True, False])
def test_clips_that_do_not_fit_are_refused_and_nothing_is_left(tmp_path, counted):
    """Both where persons are counted in a list of clips and where clips come from a generator."""
    skeleton = get_skeleton("kinect_v1")
    nan = make_clip("nan", 3)
    nan.position[1, 0, 2, 0] = np.nan
    cases = {
        "a label among the 0 classes, found 'walk'": [make_clip("a", 3, label="walk")],
        "finite": [nan],
        "unique id": [make_clip("a", 3), make_clip("a", 4)],
        "skeleton 'kinect_v1'": [make_clip("a", 3, skeleton="sbu")],
        "at least one clip": [],
    }
    for message, clips in cases.items():
        given, num_persons = (clips, None) if counted else (iter(clips), 1)
        with pytest.raises(InputError, match=message):
            Dataset.write(tmp_path / "dataset", given, classes=[], skeleton=skeleton, num_persons=num_persons)
    assert list(tmp_path.iterdir()) == []


def test_opening_a_million_frames_is_instant(tmp_path):
    skeleton = get_skeleton("sbu")
    clip = Clip("x", np.ones((500, 1, 15, 3), np.float32), skeleton)
    clips = (Clip(f"c{i}", clip.position, skeleton) for i in range(2000))
    Dataset.write(tmp_path / "dataset", clips, classes=[], skeleton=skeleton, num_persons=1)
    began = time.perf_counter()
    dataset = Dataset(tmp_path / "dataset")
    assert (dataset.num_frames, dataset.lengths.sum()) == (1_000_000, 1_000_000)
    assert time.perf_counter() - began < 1, "opening reads the index only, never the frames"


def test_packing_knows_where_clips_begin_and_end():
    packing = Packing([3, 1, 2])
    assert packing.clip.tolist() == [0, 0, 0, 1, 2, 2]
    assert packing.time.tolist() == [0, 1, 2, 0, 0, 1]
    assert packing.start.tolist() == [0, 0, 0, 3, 4, 4]
    assert packing.mean(torch.tensor([[0.0], [3], [3], [5], [1], [2]])).flatten().tolist() == [2, 5, 1.5]
    with pytest.raises(InputError, match="length of at least 1"):
        Packing([2, 0])


@pytest.mark.parametrize("lengths", [[5], [3, 3, 3], [40, 1, 2, 39, 7, 8, 9, 300]])
def test_groups_contain_every_frame_once(lengths):
    packing = Packing(lengths)
    assert len(set(packing.padded_index.tolist())) == packing.num_frames
    is_frame = torch.zeros(packing.num_padded, dtype=torch.bool)
    is_frame[packing.padded_index] = True
    for group, rows in zip(packing.groups, is_frame.split([group.num_rows for group in packing.groups]), strict=True):
        valid = torch.ones(group.shape, dtype=torch.bool) if group.valid is None else group.valid
        assert torch.equal(rows.view(group.shape), valid)
    for index in packing.split(packing.padded_index):
        assert torch.equal(index, index[0] + torch.arange(len(index)))  # a clip's frames stay in order


@pytest.mark.parametrize("max_frames", [None, 10])
def test_a_resident_dataset_gives_the_same_batches(dataset, max_frames):
    clips = np.array([7, 0, 19, 19])
    read, gathered = (
        ClipLoader(dataset, max_frames=max_frames, is_resident=is_resident)(clips) for is_resident in (False, True)
    )
    for name in ("position", "visible", "label"):
        assert torch.equal(getattr(read, name), getattr(gathered, name))
    assert torch.equal(absent_persons(read), absent_persons(gathered))
    assert (read.fps == gathered.fps).all()
    assert read.lengths == gathered.lengths


def test_every_clip_of_a_batch_belongs_to_one_process():
    plan = BatchPlan(10, 4, seed=0)
    for num in range(1, 9):
        shares = [np.arange(num)[plan.share(num, rank, 3)].tolist() for rank in range(3)]
        assert all(shares)
        assert sorted(clip for share in shares[:num] for clip in share) == list(range(num))


def test_batches_contain_the_first_frames_of_clips(dataset):
    clips = np.array([7, 0, 19])
    batch = load_batch(dataset, clips, max_frames=10)
    assert batch.lengths == [10, 4, 10]
    assert batch.label.tolist() == [1, 0, 1]
    for position, clip in zip(batch.packing.split(batch.position), clips, strict=True):
        assert (position.numpy() == dataset.clip(int(clip)).position[:10]).all()


def test_from_padded():
    position = torch.randn(2, 3, 6, 25, 2, dtype=torch.float64)
    position[1, ..., 1] = 0
    batch = Batch.from_padded(position, [6, 4])
    assert batch.position.shape == (10, 2, 25, 3)
    assert batch.position.dtype == torch.float64
    assert absent_persons(batch).tolist() == [[False, False], [False, True]]
    assert (batch.position[6 + 3, 0, 24] == position[1, :, 3, 24, 0]).all()
    with pytest.raises(InputError, match=r"expected position \(B, 3, T, 25, P\)"):
        Batch.from_padded(torch.zeros(2, 3, 6, 20, 2), [6, 4])
    with pytest.raises(InputError, match="lengths from 1 to 6"):
        Batch.from_padded(position, [6, 7])


def test_plan_is_a_function_of_seed_and_step():
    plan = BatchPlan(10, 4, seed=3)
    epoch = np.concatenate([plan.clips(s) for s in range(3)])
    assert sorted(epoch) == list(range(10))
    assert plan.steps_per_epoch == 3
    assert (np.concatenate([plan.clips(s) for s in range(3, 6)]) != epoch).any()
    assert (BatchPlan(10, 4, seed=3).clips(5) == plan.clips(5)).all()
    assert plan.generator(5).random() == plan.generator(5).random() != plan.generator(6).random()


def test_data_without_a_split_are_given_one(tmp_path):
    skeleton = get_skeleton("kinect_v1")
    clips = [make_clip(f"c{i}", 3, label="xy"[i % 2], seed=i // 2) for i in range(12)]
    by_subject = Dataset.write(tmp_path / "a", clips, classes=["x", "y"])
    train, test = by_subject.split("holdout")
    assert {by_subject.clip(int(i)).subject for i in test} == {1}
    assert len(train) == 10
    unknown = [Clip(c.id, c.position, skeleton, label=c.label) for c in clips]
    by_clip = Dataset.write(tmp_path / "b", unknown, classes=["x", "y"])
    assert by_clip.split("holdout")[1].tolist() == [2, 3]
    bare = Dataset.write(tmp_path / "c", [Clip(c.id, c.position, skeleton) for c in clips])
    assert bare.splits == ()
    half = [dataclasses.replace(c, label=None) if i % 2 else c for i, c in enumerate(clips)]
    labelled = Dataset.write(tmp_path / "d", half, classes=["x", "y"])
    assert len(labelled.split("holdout")[0]) == 10, "unlabelled clips of test subjects are in no part"
    assert len(labelled.split("holdout")[1]) == 1


def test_class_groups_and_names_of_splits_are_validated(tmp_path):
    clip = make_clip("a", 3, label="x")
    with pytest.raises(InputError, match="found 'zzz' in one"):
        Dataset.write(tmp_path / "s", [clip], classes=["x"], class_groups={"g": ["zzz"]})
    for name in ("a/b", "../x", ".hidden", ""):
        odd = dataclasses.replace(clip, splits={name: "train"})
        with pytest.raises(InputError, match="names of splits that can name files"):
            Dataset.write(tmp_path / "s", [odd], classes=["x"])
    assert not (tmp_path / "s").exists()
