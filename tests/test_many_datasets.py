"""Pretraining on several datasets of different skeletons, and the augmentations that make an encoder general."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_clip, model_of, tiny
from ulna.batch import Augmentation, Batch, BatchPlan
from ulna.core import InputError, get_skeleton
from ulna.dataset import Dataset
from ulna.models.folder import SEEN
from ulna.preprocessing import Disentangled

HUMAN = get_skeleton("human36m")


def body(**training):
    recipe = tiny(**training)
    form = Disentangled.Config(max_frames=16, heading="clip", scale="torso", frame_rate=30.0)
    return recipe.replace(name="body", body="human36m", split=None, preprocessor=form)


def image(name, seed):
    clip = make_clip(name, 10, seed=seed, skeleton="coco17")
    return replace(clip, position=clip.position * np.array([200, -200, 0], np.float32), dimensions=2, units="pixels")


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """Kinect v1 in three dimensions, two persons of Kinect v2 at another rate, and COCO in an image."""
    folder = tmp_path_factory.mktemp("many")
    clips = {
        "one": [make_clip(f"one{k}", 9 + k, seed=k, skeleton="kinect_v1") for k in range(6)],
        "two": [
            replace(make_clip(f"two{k}", 12, seed=k, skeleton="kinect_v2", num_persons=2), fps=15.0) for k in range(9)
        ],
        "image": [image(f"image{k}", seed=k) for k in range(5)],
    }
    return [Dataset.write(folder / name, own) for name, own in clips.items()]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(0.05, 5)), min_size=1, max_size=4),
    st.integers(1, 16),
    st.integers(0, 3),
)
def test_weights_say_how_many_clips_of_each_dataset_an_epoch_has(datasets, batch_size, seed):
    num = sum(count for count, _ in datasets)
    plan = BatchPlan(num, batch_size, seed, datasets=tuple(datasets))
    firsts = np.cumsum([0, *(count for count, _ in datasets)])
    used = Counter()
    for epoch in range(3):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        clips = np.concatenate([plan.clips(step) for step in steps])
        of_dataset = np.searchsorted(firsts, clips, side="right") - 1
        assert np.bincount(of_dataset, minlength=len(datasets)).tolist() == list(plan.clips_per_epoch)
        used.update(clips.tolist())
    for number, (count, _) in enumerate(datasets):
        times = [used[clip] for clip in range(firsts[number], firsts[number] + count)]
        assert max(times) - min(times) <= 1, "all clips of a dataset are used equally often"
    again = BatchPlan(num, batch_size, seed, datasets=tuple(datasets))
    assert (again.clips(1) == plan.clips(1)).all()


def test_joined_batches_are_the_clips_one_after_another():
    form = Disentangled(Disentangled.Config(max_frames=16), get_skeleton("kinect_v1"), 1)
    clips = [make_clip(f"c{k}", n, seed=k) for k, n in enumerate((5, 9, 7))]
    whole = form(Batch.from_clips(clips))
    joined = Batch.join([form(Batch.from_clips(clips[:1])), form(Batch.from_clips(clips[1:]))])
    assert joined.lengths == whole.lengths
    assert torch.equal(joined.position, whole.position)
    assert torch.equal(joined.visible, whole.visible)
    with pytest.raises(InputError, match="expected batches of one preprocessor"):
        Batch.join([whole, replace(whole, preprocessor="other")])
    with pytest.raises(InputError, match="expected at least one batch, found none"):
        Batch.join([])


def test_a_model_of_several_datasets(datasets, tmp_path):
    model = model_of(body(), datasets, tmp_path / "model", weights=[1.0, 1.0, 0.5])
    assert [own.fingerprint for own in model.config.all_data] == [one.fingerprint for one in datasets]
    assert [own.weight for own in model.config.all_data] == [1.0, 1.0, 0.5]
    assert model.config.num_persons == 1, "persons are encoded one by one"
    assert pq.read_table(tmp_path / "model" / SEEN).num_rows == 20
    for one in datasets:
        assert model.count_seen(one, np.arange(one.num_clips)) == one.num_clips
        assert np.isfinite(model.embed(one)).all(), "clips of any skeleton, in two or three dimensions"
    card = (tmp_path / "model" / "README.md").read_text()
    assert all(one.fingerprint in card for one in datasets)


def test_a_run_on_several_datasets_resumes(datasets, tmp_path):
    done = model_of(body(epochs=3), datasets, tmp_path / "done")
    model_of(body(epochs=3), datasets, tmp_path / "again")
    (tmp_path / "again").rename(tmp_path / "again.unfinished")
    with pytest.raises(InputError, match="expected the more_data that the run was started with, found another"):
        model_of(body(epochs=3), datasets[:2], tmp_path / "again", resume=True)
    resumed = model_of(body(epochs=3), datasets, tmp_path / "again", resume=True)
    for name, value in done.encoder.state_dict().items():
        assert torch.equal(resumed.encoder.state_dict()[name], value)


def test_what_does_not_fit_together(datasets, tmp_path):
    with pytest.raises(InputError, match=r"expected one dataset, found 3. Choose a recipe with a `body`"):
        model_of(tiny().replace(split=None), datasets, tmp_path / "model")
    with pytest.raises(
        InputError, match=r"weights: expected 3 numbers above 0, one per dataset, found \[1.0, 0.0, 1.0\]"
    ):
        model_of(body(), datasets, tmp_path / "model", weights=[1.0, 0.0, 1.0])
    with pytest.raises(
        InputError, match=r"weights: expected several datasets to weight, found one and weights \[2.0\]"
    ):
        model_of(body(), datasets[0], tmp_path / "model", weights=[2.0])
    with pytest.raises(InputError, match=r"unknown split of .* 'half'"):
        model_of(body(), [f"{datasets[0].path}@half", datasets[1]], tmp_path / "model")
    with pytest.raises(InputError, match="expected at least one dataset to pretrain on, found none"):
        model_of(body(), [], tmp_path / "model")


def preprocessed(parts="local+global"):
    form = Disentangled(Disentangled.Config(max_frames=16, heading="none", parts=parts), HUMAN, 1)
    return form(Batch.from_clips([make_clip(f"c{k}", n, seed=k, skeleton="human36m") for k, n in enumerate((6, 9))]))


STILL = Augmentation(time_scale=0.0, shear=0.0)


def draws(batch, **values):
    drawn = Augmentation.draw(np.random.default_rng(0), batch.num_clips)
    return replace(drawn, **{name: np.array(own) for name, own in values.items()})


@pytest.mark.parametrize("parts", ["local+global", "mixed"])
def test_a_distant_camera_in_front_drops_the_depth(parts):
    """From far away, an image is an orthographic projection; from the side, x and z change places."""
    batch = preprocessed(parts)
    from ulna.batch.transforms import project

    everything, far = np.ones(2, bool), torch.full((2,), 1e6)
    front = project(batch, everything, torch.zeros(2, 2), far)
    torch.testing.assert_close(front.position[..., :2], batch.position[..., :2], atol=1e-4, rtol=0)
    assert not front.position[..., 2].any()
    side = project(batch, everything, torch.tensor([[np.pi / 2, 0.0]] * 2, dtype=torch.float32), far)
    torch.testing.assert_close(side.position[..., 0], batch.position[..., 2], atol=1e-4, rtol=0)
    untouched = project(batch, np.array([False, True]), torch.zeros(2, 2), far)
    assert torch.equal(untouched.position[:6], batch.position[:6])


def test_perspective_by_hand():
    """A joint one metre nearer to a camera four metres away looks a third larger."""
    from ulna.batch.transforms import project

    batch = preprocessed("mixed")
    position = torch.zeros_like(batch.position)
    position[..., 0], position[..., 2] = 0.3, 1.0
    seen = project(replace(batch, position=position), np.ones(2, bool), torch.zeros(2, 2), torch.full((2,), 4.0))
    torch.testing.assert_close(seen.position[..., 0], torch.full_like(seen.position[..., 0], 0.4))


def test_images_among_other_clips_stay_flat():
    form = Disentangled(Disentangled.Config(max_frames=16, heading="none"), HUMAN, 1, match_joints=True, any_clips=True)
    deep, flat = (
        form(Batch.from_clips([one])) for one in (make_clip("deep", 6, seed=0, skeleton="human36m"), image("flat", 1))
    )
    batch = Batch.join([flat, deep])
    assert (batch.dimensions, batch.is_image.tolist()) == (3, [True, False])
    changed = Augmentation(time_scale=0.0, shear=0.0, yaw=1.0)(batch, draws(batch, yaw=[0.9, 0.9]))
    assert not changed.position[: flat.num_frames, ..., 2].any()
    assert changed.position[flat.num_frames :, ..., 2].any()
    seen = Augmentation(time_scale=0.0, shear=0.0, camera=1.0)(batch, draws(batch))
    assert seen.is_image.all()
    assert not seen.position[..., 2].any()
    assert torch.equal(seen.position[: flat.num_frames], flat.position), "an image is not projected again"


def test_joints_and_limbs_are_missing_in_the_whole_clip():
    batch = preprocessed()
    none = draws(batch, hidden=[[0.0, 0.0], [0.0, 1.0]])
    view = Augmentation(time_scale=0.0, shear=0.0, limb_dropout=0.5)(batch, none)
    lost = {name for k, name in enumerate(batch.layout.names) if not view.visible[:6, 0, k].any()}
    limbs = [set(HUMAN.parts[name]) for name in ("left_arm", "right_arm", "left_leg", "right_leg")]
    assert lost in [*limbs, limbs[0] | limbs[1], limbs[2] | limbs[3]]
    assert torch.equal(view.visible[6:], batch.visible[6:])
    assert not view.position[~view.visible].any()
    many = Augmentation(time_scale=0.0, shear=0.0, joint_dropout=0.9)(batch, draws(batch, hidden=[[1.0, 1.0]] * 2))
    assert 0.6 < 1 - many.visible.float().mean() < 1
    assert many.visible[:, :, batch.layout.root].all(), "the translation stays"


def test_persons_are_embedded_one_by_one(datasets, tmp_path):
    recipe = body()
    recipe = recipe.replace(preprocessor=recipe.preprocessor.replace(scale="none"))  # which goes by the first person
    model = model_of(recipe, datasets, tmp_path / "model")
    both = datasets[1].clip(0)
    alone = [replace(both, id=f"p{p}", position=both.position[:, [p]], visible=both.visible[:, [p]]) for p in (0, 1)]
    np.testing.assert_allclose(model.embed([both])[0], model.embed(alone).mean(axis=0), atol=1e-4)
    model.fit(Dataset.write(tmp_path / "labelled", [replace(both, id=str(k), label="ab"[k % 2]) for k in range(6)]))


def test_offset_moves_the_translation_only():
    batch = preprocessed()
    moved = Augmentation(time_scale=0.0, shear=0.0, offset=2.0)(batch, draws(batch, place=[[0.5, -1.0], [0.0, 0.0]]))
    change = moved.position - batch.position
    root = batch.layout.root
    torch.testing.assert_close(change[:6, 0, root], torch.tensor([1.0, 0.0, -2.0]).expand(6, 3))
    assert not change[:, :, [k for k in range(len(batch.layout)) if k != root]].any()
    assert not change[6:].any()


def test_jitter_has_its_deviation():
    batch = preprocessed()
    view = Augmentation(time_scale=0.0, shear=0.0, jitter=0.02)(batch, draws(batch))
    moved = [k for k in range(len(batch.layout)) if k != batch.layout.root]
    noise = (view.position - batch.position)[:, :, moved]
    assert noise.std() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(view.position[:, :, batch.layout.root], batch.position[:, :, batch.layout.root])
