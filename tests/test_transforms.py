"""Transforms: other frame rates, gaps, augmentation."""

import dataclasses

import numpy as np
import pytest
import torch

from conftest import make_clip
from ulna.batch import Augmentation, Batch
from ulna.batch.transforms import crop, interpolate_gaps, mirror, resample, rotate, rotate_yaw, shear
from ulna.core import Clip, get_skeleton
from ulna.encoders.gl_transformer import absent_persons
from ulna.preprocessing import Disentangled


def disentangled(clips, **options):
    """Return a preprocessed batch of clips."""
    preprocessor = Disentangled(Disentangled.Config(**options), clips[0].skeleton, clips[0].num_persons)
    return preprocessor(Batch.from_clips(clips))


def test_resampling_agrees_with_torch():
    clip = make_clip("a", 11)
    batch = Batch.from_clips([clip, make_clip("b", 5)])
    for new in (1, 5, 10, 11, 12, 23):
        ours = resample(batch, np.array([new, 5])).packing.split(resample(batch, np.array([new, 5])).position)[0]
        flat = torch.from_numpy(clip.position).reshape(1, 11, -1).transpose(1, 2)
        theirs = torch.nn.functional.interpolate(flat, size=new, mode="linear", align_corners=False)
        torch.testing.assert_close(ours.reshape(new, -1), theirs[0].T, atol=1e-6, rtol=0)


def test_resampling_never_interpolates_with_missing_joints():
    clip = make_clip("a", 6)
    clip.visible[3:] = False
    clip.position[3:] = 0
    batch = resample(Batch.from_clips([clip]), np.array([13]))
    visible = batch.visible.all(dim=2)[:, 0]
    assert visible.any()
    assert not visible.all()
    assert (batch.position[visible].norm(dim=-1) > 1).all()
    assert (batch.position[~visible] == 0).all()


def test_gaps_are_interpolated_within_a_clip_and_a_person():
    """Motion of constant velocity, so that interpolated positions are exact."""
    steady = np.arange(6, dtype=np.float32)[:, None, None, None] + np.zeros((6, 2, 20, 3), np.float32)
    visible = np.ones((6, 2, 20), bool)
    visible[2:4] = False  # frames without any person
    visible[4, 0, 7] = False
    visible[:, 0, 9] = False  # never visible
    visible[0, 0, 3], visible[5, 0, 3] = False, False  # keeps its first and last position
    visible[:2, 1], visible[5, 1] = False, False  # not visible at first and at last
    clips = [
        Clip("a", steady * visible[..., None], get_skeleton("kinect_v1"), visible=visible),
        Clip("b", steady + 100, get_skeleton("kinect_v1")),
    ]
    filled = interpolate_gaps(Batch.from_clips(clips))
    one, two = filled.packing.split(filled.position)
    torch.testing.assert_close(two, torch.from_numpy(clips[1].position))
    expected = steady.copy()
    expected[:, 0, 9] = 0
    expected[0, 0, 3], expected[5, 0, 3] = 1, 4
    expected[:4, 1], expected[5, 1] = 0, 0
    torch.testing.assert_close(one, torch.from_numpy(expected))
    filled_visible = filled.packing.split(filled.visible)[0].numpy()
    np.testing.assert_array_equal(filled_visible, [[[k != 9 for k in range(20)], [t == 4] * 20] for t in range(6)])


def test_shear_does_not_change_translation():
    batch = disentangled([make_clip("a", 5), make_clip("b", 7)])
    matrices = torch.eye(3).repeat(2, 1, 1)
    matrices[1, 0, 1] = 0.3
    sheared = shear(batch, matrices).position
    assert (sheared[:5] == batch.position[:5]).all()
    assert (sheared[5:, :, 1] == batch.position[5:, :, 1]).all(), "node 1 holds the translation"
    torch.testing.assert_close(sheared[5:, :, 2, 0], batch.position[5:, :, 2, 0] + 0.3 * batch.position[5:, :, 2, 1])


def test_yaw_is_about_the_vertical_axis():
    batch = Batch.from_clips([make_clip("a", 3), make_clip("b", 2)])
    rotated = rotate_yaw(batch, torch.tensor([0.0, torch.pi / 2])).position
    torch.testing.assert_close(rotated[:3], batch.position[:3])
    x, y, z = batch.position[3:].unbind(-1)
    torch.testing.assert_close(rotated[3:], torch.stack([z, y, -x], dim=-1), atol=1e-5, rtol=0)
    draw = Augmentation.draw(np.random.default_rng(0), 2)
    by_augmentation = Augmentation(time_scale=0.0, shear=0.0, yaw=0.7)(batch, draw).position
    torch.testing.assert_close(by_augmentation, rotate_yaw(batch, torch.from_numpy(0.7 * draw.yaw)).position)


def test_rotations_are_about_the_axes():
    batch = Batch.from_clips([make_clip("a", 3)])
    about_y = rotate(batch, torch.tensor([[0.0, 0.4, 0.0]])).position
    torch.testing.assert_close(about_y, rotate_yaw(batch, torch.tensor([0.4])).position)
    x, y, z = batch.position.unbind(dim=-1)
    quarter = torch.tensor([[torch.pi / 2, 0.0, 0.0]])
    torch.testing.assert_close(rotate(batch, quarter).position, torch.stack([x, -z, y], dim=-1), atol=1e-5, rtol=0)
    whole = rotate(batch, torch.tensor([[0.1, 0.2, 0.3]])).position
    torch.testing.assert_close(whole.norm(dim=-1), batch.position.norm(dim=-1))


def test_crops_are_parts_of_clips():
    time = torch.arange(40.0)[:, None, None, None].expand(40, 2, 20, 3)
    visible = torch.ones(40, 2, 20, dtype=torch.bool)
    visible[:5, 1] = False  # the second person is missing at first
    batch = Batch.pack(time.clone(), visible, [40], get_skeleton("kinect_v1"))
    assert absent_persons(batch).tolist() == [[False, True]]
    part = crop(batch, np.array([20]), np.array([0.25]), np.array([0.5]), max_frames=None)
    torch.testing.assert_close(part.position[:, 0, 0, 0], torch.arange(10.0, 30.0))
    assert absent_persons(part).tolist() == [[False, False]]
    augmentation = Augmentation(time_scale=0.0, shear=0.0, crop=0.5)
    draws = Augmentation.draw(np.random.default_rng(0), 200)
    many = Batch.pack(time.repeat(200, 1, 1, 1), visible.repeat(200, 1, 1), [40] * 200, get_skeleton("kinect_v1"))
    cropped = augmentation(many, draws).position[:, 0, 0, 0].view(200, 40)
    spans = cropped[:, -1] - cropped[:, 0]
    assert (spans >= 19).all()
    assert spans.mean() == pytest.approx(0.75 * 40, abs=2)
    assert cropped.min() >= 0


def test_augmentation_depends_on_its_draw_alone():
    batch = disentangled([make_clip("a", 40), make_clip("b", 20)])
    draw = Augmentation.draw(np.random.default_rng(0), 2)
    once, twice = (Augmentation()(batch, draw, max_frames=41) for _ in range(2))
    assert (once.position == twice.position).all()
    assert all(0.9 * n - 1 <= m <= min(1.1 * n, 41) for n, m in zip(batch.lengths, once.lengths, strict=True))
    unchanged = Augmentation(time_scale=0.0, shear=0.0)(batch, draw)
    assert unchanged.position is batch.position
    drawn = dataclasses.replace(draw, time_scale=np.array([0.99, -0.99]))
    stretched = Augmentation(shear=0.0)(batch, drawn, max_frames=41)
    assert stretched.lengths == [41, 18]


def test_mirroring_exchanges_left_and_right():
    clips = [make_clip("a", 5), make_clip("b", 3, seed=1)]
    swapped = list(get_skeleton("kinect_v1").mirror)
    other = dataclasses.replace(clips[0], position=clips[0].position[:, :, swapped] * np.float32([-1, 1, 1]))
    batch, reflected = disentangled(clips, heading="clip"), disentangled([other], heading="clip")
    once = mirror(batch, torch.tensor([True, False]))
    torch.testing.assert_close(once.position[:5], reflected.position)
    assert torch.equal(once.position[5:], batch.position[5:])
    assert torch.equal(mirror(once, torch.tensor([True, False])).position, batch.position), (
        "mirrored twice is the original"
    )
    draw = dataclasses.replace(Augmentation.draw(np.random.default_rng(0), 2), mirror=np.array([0.4, 0.6]))
    augmented = Augmentation(time_scale=0.0, shear=0.0, mirror=0.5)(batch, draw)
    assert torch.equal(augmented.position, once.position)
