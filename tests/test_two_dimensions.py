"""Clips in two dimensions and in other units, from preprocessing to prediction; frame rates."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import ulna
from conftest import make_clip
from ulna.batch import Augmentation, Batch
from ulna.core import InputError, get_skeleton
from ulna.preprocessing import PREPROCESSORS
from ulna.preprocessing.scale import TORSO, torso_lengths

COCO = get_skeleton("coco17")


def pixels(clip, *, scale=200.0, shift=300.0):
    """Project a clip in metres onto an image, y down."""
    position = clip.position.copy()
    position[..., 1] *= -1
    position = position * scale + shift
    position[..., 2] = 0
    return replace(clip, position=position.astype(np.float32), dimensions=2, units="pixels")


def preprocessor_of(name, *, heading="none", dimensions=2, **options):
    cls = PREPROCESSORS[name]
    return cls(cls.Config(heading=heading, **options), COCO, 1, dimensions=dimensions)


def clip(num_frames=12, **fields):
    return replace(make_clip("a", num_frames, skeleton="coco17", **fields))


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_images_are_turned_upright_and_scaled(name):
    """A larger picture elsewhere gives the same input, and one twice as high on its head another."""
    preprocessor = preprocessor_of(name)
    one, two = (preprocessor.from_clips([pixels(clip(), scale=s, shift=d)]) for s, d in ((200.0, 300.0), (50.0, -20.0)))
    torch.testing.assert_close(one.position, two.position, atol=1e-3, rtol=1e-3)
    assert not one.position[..., 2].any()
    if name != "min_max":
        flat = clip().position * np.array([1, 1, 0], np.float32)
        metres = replace(clip(), position=flat * float(TORSO / _torso(flat)))
        upright = preprocessor_of(name, dimensions=3).from_clips([metres])
        torch.testing.assert_close(one.position[..., :2], upright.position[..., :2], atol=1e-3, rtol=1e-3)


def _torso(position):
    shoulders, hips = (
        position[:, 0, [COCO.index(f"{side}_{joint}") for side in ("left", "right")]].mean(axis=1)
        for joint in ("shoulder", "hip")
    )
    return np.median(np.linalg.norm(shoulders - hips, axis=1))


def test_torso_lengths_by_hand():
    batch = Batch.from_clips([pixels(clip()), pixels(clip(7), scale=90.0)])
    expected = [_torso(pixels(clip()).position), _torso(pixels(clip(7), scale=90.0).position)]
    # torch takes the lower of two middle frames
    np.testing.assert_allclose(torso_lengths(batch).numpy(), expected, rtol=0.05)


def test_animals_are_scaled_by_their_spread():
    skeleton = ulna.Skeleton.from_edges("mouse", ["nose", "body", "tail"], [(0, 1), (1, 2)])
    position = np.zeros((3, 1, 3, 2), np.float32)
    position[:, 0, :, 0] = [1, 4, 7]
    mouse = ulna.Clip("a", position, skeleton, units="pixels")
    assert torso_lengths(Batch.from_clips([mouse])).tolist() == [2.0]


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_what_needs_depth_says_so(name):
    with pytest.raises(InputError, match=r"with heading 'first' needs depth: expected clips of 3 dimensions, found 2"):
        preprocessor_of(name, heading="first")
    with pytest.raises(InputError, match="expected clips of 2 dimensions, found 3"):
        preprocessor_of(name).from_clips([clip()])
    with pytest.raises(InputError, match="expected clips of 3 dimensions, found 2"):
        preprocessor_of(name, dimensions=3).from_clips([pixels(clip())])


def test_millimetres_are_converted():
    metres = clip()
    millimetres = replace(metres, position=metres.position * 1000, units="millimetres")
    preprocessor = preprocessor_of("disentangled", heading="clip", dimensions=3)
    one, two = (preprocessor.from_clips([some]).position for some in (metres, millimetres))
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match="same dimensions and units"):
        Batch.from_clips([metres, millimetres])


def test_augmented_images_stay_flat():
    batch = preprocessor_of("disentangled").from_clips([pixels(clip()), pixels(clip(9))])
    augmentation = Augmentation(shear=0.5, yaw=1.0, rotate=0.5, crop=0.2)
    draw = augmentation.draw(np.random.default_rng(0), 2)
    changed = augmentation(batch, draw)
    assert not changed.position[..., 2].any()
    assert (changed.position[..., :2] != 0).any()


def test_images_from_files_to_predictions(tmp_path):
    clips = [
        pixels(make_clip(f"{label}{n}", 14 + n, skeleton="coco17", label=label, seed=n, splits={"s": part}))
        for label in ("walk", "jump")
        for n, part in enumerate(["train"] * 4 + ["test"])
    ]
    dataset = ulna.Dataset.write(tmp_path / "d", clips)
    assert (dataset.dimensions, dataset.units) == (2, "pixels")
    recipe = ulna.recipes.get_recipe("gl_transformer/own_2d")
    recipe = recipe.replace(training=recipe.training.replace(epochs=1), split="s")
    model = ulna.pretrain(recipe, dataset, out=tmp_path / "m", progress=False)
    result = ulna.evaluate(model, dataset, ulna.protocols.KNN(), split="s")
    assert 0 <= result.result.accuracy <= 1
    loaded = ulna.load(tmp_path / "m")
    assert loaded.config.data.dimensions == 2
    np.testing.assert_allclose(loaded.embed(clips), model.embed(dataset), atol=1e-5)
    with pytest.raises(InputError, match="expected clips of 2 dimensions, found 3"):
        loaded.embed([clip()])
    with pytest.raises(InputError, match="needs depth"):
        ulna.pretrain("gl_transformer/own_3d", dataset, out=tmp_path / "n", progress=False)
    assert not (tmp_path / "n").exists()


def test_clips_of_another_rate_are_resampled_to_that_of_training(tmp_path):
    """A movement recorded at twice the rate has nearly the same embedding."""

    def swinging(fps):
        time = np.arange(round(2 * fps)) / fps
        skeleton = get_skeleton("kinect_v1")
        rest = np.random.default_rng(0).normal(0, 0.4, (20, 3))
        position = rest + 0.2 * np.sin(2 * np.pi * time)[:, None, None] * rest[:, ::-1]
        return ulna.Clip(f"at {fps}", position[:, None].astype(np.float32), skeleton, fps=fps)

    recipe = ulna.recipes.get_recipe("gl_transformer/own_3d")
    recipe = recipe.replace(
        training=recipe.training.replace(epochs=1), preprocessor=recipe.preprocessor.replace(max_frames=200)
    )
    dataset = ulna.Dataset.write(tmp_path / "d", [swinging(30.0)])
    model = ulna.pretrain(recipe, dataset, out=tmp_path / "m", progress=False)
    assert model.preprocessor.fps == 30
    slow, fast, same = (model.embed([swinging(fps)])[0] for fps in (30.0, 60.0, 29.97))
    unaware = model.embed([replace(swinging(60.0), fps=30.0)])[0]
    assert np.linalg.norm(slow - fast) < 0.3 * np.linalg.norm(slow - unaware)
    assert np.linalg.norm(slow - same) < 0.3 * np.linalg.norm(slow - unaware)
    batch = model.preprocessor.from_clips([swinging(60.0)])
    assert batch.lengths == [60]
    assert len(model.preprocessor.frame_indices(120, 60.0)) == 60
    assert model.preprocessor.frames_to_read(np.array([30.0])) == model.preprocessor.frames_needed
