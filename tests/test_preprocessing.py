"""Disentangling and heading alignment, on movement whose answer is known by hand."""

import numpy as np
import pytest
import torch

from conftest import make_clip
from ulna.batch import Batch
from ulna.core import Clip, Skeleton, get_skeleton
from ulna.encoders.gl_transformer import absent_persons
from ulna.preprocessing import Disentangled, disentangle

KINECT = get_skeleton("kinect_v1")
CENTRE, LEFT, RIGHT = (KINECT.index(joint) for joint in (KINECT.centre, *KINECT.shoulders))


def preprocessor_of(num_persons=1, **options):
    return Disentangled(Disentangled.Config(**options), KINECT, num_persons)


def moving_clip(num_frames=5, num_persons=1):
    """The whole body moves 0.1 m a frame along x; joints stay where they are in the body."""
    rest = np.random.default_rng(1).normal(0, 0.3, (num_persons, 20, 3)) + np.array([0, 1, 3])
    path = np.arange(num_frames)[:, None, None, None] * [0.1, 0, 0]
    return Clip("a", (rest + path).astype(np.float32), KINECT)


def test_translation_and_local_motion_are_separate():
    clip = moving_clip()
    position = disentangle(clip, heading="none")
    np.testing.assert_allclose(position[:, 0, CENTRE, 0], [0, 0.1, 0.2, 0.3, 0.4], atol=1e-6)
    local = position[:, :, [k for k in range(20) if k != CENTRE]]
    np.testing.assert_allclose(local, np.broadcast_to(local[:1], (5, 1, 19, 3)), atol=1e-6)
    np.testing.assert_allclose(position[0, 0, 3], clip.position[0, 0, 3] - clip.position[0, 0, CENTRE], atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.5, 3.0, -2.0])
def test_exact_heading_undoes_any_rotation(angle):
    """A body rotated about the vertical, by an angle of its own in each frame, looks the same."""
    clip = make_clip("a", 6)
    rotated = clip.position.copy()
    for t in range(6):
        cos, sin = np.cos(angle * (t + 1)), np.sin(angle * (t + 1))
        rotated[t] = rotated[t] @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], dtype=np.float32)
    straight, again = disentangle(clip), disentangle(Clip("b", rotated, KINECT))
    local = [k for k in range(20) if k != CENTRE]
    np.testing.assert_allclose(straight[:, :, local], again[:, :, local], atol=1e-5)
    across = again[:, 0, RIGHT] - again[:, 0, LEFT]
    np.testing.assert_allclose(across[:, 2], 0, atol=1e-6)
    assert (across[:, 0] > 0).all()


def test_released_heading_is_nearly_exact_where_its_sign_holds():
    clip = make_clip("a", 6)
    np.testing.assert_allclose(disentangle(clip, heading="released"), disentangle(clip), atol=0.05)


def test_parts():
    batch = Batch.from_clips([moving_clip()])
    mixed = preprocessor_of(heading="none", parts="mixed")(batch)
    raw = batch.position - batch.position[:1, :, CENTRE : CENTRE + 1]
    torch.testing.assert_close(mixed.position, raw)
    local = preprocessor_of(heading="none", parts="local")(batch)
    assert local.position.shape == (5, 1, 19, 3)
    assert KINECT.centre not in local.layout.names
    torch.testing.assert_close(local.position[0], local.position[4], atol=1e-6, rtol=0)


def test_a_person_who_enters_late_moves_relative_to_their_first_visible_frame():
    clip = moving_clip(num_persons=2)
    clip.position[:2, 1] = 0
    clip.visible[:2, 1] = False
    position = disentangle(clip, heading="none")
    assert (position[:2, 1] == 0).all()
    np.testing.assert_allclose(position[2:, 1, CENTRE, 0], [0, 0.1, 0.2], atol=1e-6)
    raw = Batch.from_clips([clip])
    assert absent_persons(raw).tolist() == [[False, True]]
    assert absent_persons(preprocessor_of(2)(raw)).tolist() == [[False, True]]


def test_a_missing_centre_is_filled_forward():
    clip = moving_clip()
    clip.position[2, 0, CENTRE] = 0
    clip.visible[2, 0, CENTRE] = False
    position = disentangle(clip, heading="none")
    np.testing.assert_allclose(position[:, 0, CENTRE, 0], [0, 0.1, 0.1, 0.3, 0.4], atol=1e-6)
    np.testing.assert_allclose(position[2, 0, 3] - position[1, 0, 3], [0.1, 0, 0], atol=1e-6)
    clip.position[2, 0, 5] = 0
    clip.visible[2, 0, 5] = False
    assert (disentangle(clip)[2, 0, 5] == 0).all()


def test_clips_do_not_leak_into_one_another():
    clips = [make_clip("a", 3), make_clip("b", 1), make_clip("c", 6)]
    clips[1].visible[:, :, CENTRE] = False
    together = preprocessor_of()(Batch.from_clips(clips))
    for clip, part in zip(clips, together.packing.split(together.position), strict=True):
        np.testing.assert_allclose(part.numpy(), disentangle(clip), atol=1e-6)


def test_a_shoulder_that_is_never_visible_rotates_nothing():
    clip = make_clip("a", 5)
    clip.visible[:, :, LEFT] = False
    clip.position[:, :, LEFT] = 0
    np.testing.assert_array_equal(disentangle(clip), disentangle(clip, heading="none"))


def test_heading_needs_shoulders():
    skeleton = Skeleton.from_joints("own", ["a", "b"], [-1, 0])
    clip = Clip("x", np.ones((3, 1, 2, 3), np.float32), skeleton)
    with pytest.raises(ValueError, match="names no shoulders"):
        disentangle(clip)
    assert disentangle(clip, heading="none").shape == (3, 1, 2, 3)


RATES = np.array([30.0])


def test_fixed_length_takes_whole_clips():
    preprocessor = preprocessor_of(heading="none", num_frames=8, max_frames=10)
    assert preprocessor.frames_needed is None
    assert preprocessor.frames_to_read(RATES) is None
    assert preprocessor_of(max_frames=10).frames_needed == 10
    assert preprocessor_of(max_frames=10).frames_to_read(RATES) == 10
    batch = preprocessor(Batch.from_clips([moving_clip(20)], max_frames=preprocessor.frames_to_read(RATES)))
    assert batch.lengths == [8]
    np.testing.assert_allclose(batch.position[-1, 0, CENTRE, 0], (7 * 20 / 8) * 0.1, atol=0.01)
    with pytest.raises(ValueError, match=r"num_frames: expected at most max_frames \(10\), found 11"):
        preprocessor_of(num_frames=11, max_frames=10)
    with pytest.raises(ValueError, match="num_frames: expected a number of at least 1, found 0"):
        preprocessor_of(num_frames=0, max_frames=10)


def test_heading_by_clip_rotates_all_frames_alike():
    """Rotating the camera changes nothing; a body that turns round still does so."""
    clip = make_clip("a", 6)
    cos, sin = np.cos(2.0), np.sin(2.0)
    camera = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], dtype=np.float32)
    again = Clip("b", clip.position @ camera, KINECT)
    aligned = disentangle(clip, heading="clip")
    np.testing.assert_allclose(aligned, disentangle(again, heading="clip"), atol=1e-5)
    across = aligned[:, 0, RIGHT] - aligned[:, 0, LEFT]
    np.testing.assert_allclose(across.mean(axis=0)[2], 0, atol=1e-6)
    assert across.mean(axis=0)[0] > 0
    plain = disentangle(clip, heading="none")
    np.testing.assert_allclose(np.linalg.norm(aligned, axis=-1), np.linalg.norm(plain, axis=-1), atol=1e-5)
    np.testing.assert_allclose(np.diff(aligned, axis=0)[..., 1], np.diff(plain, axis=0)[..., 1], atol=1e-6)


def test_long_clips_are_cut_or_resampled():
    batch = Batch.from_clips([moving_clip(20), moving_clip(5)])
    preprocessor = preprocessor_of(heading="none", max_frames=10, long_clips="resample")
    assert preprocessor.frames_needed is None
    resampled = preprocessor(batch)
    assert resampled.lengths == [10, 5]
    path = resampled.position[:10, 0, CENTRE, 0]
    torch.testing.assert_close(path.diff(), torch.full((9,), 0.2), atol=1e-5, rtol=0)
    cutting = preprocessor_of(heading="none", max_frames=10)
    short = cutting(Batch.from_clips([moving_clip(5)]))
    torch.testing.assert_close(resampled.position[10:], short.position)
    assert cutting.frames_needed == 10
    assert cutting(batch).lengths == [10, 5]
    torch.testing.assert_close(cutting(batch).position[:10, 0, CENTRE, 0].diff(), torch.full((9,), 0.1))


def whole_positions(position):
    """Positions of joints (T, P, K, 3) from disentangled ones."""
    whole = position + position[:, :, CENTRE : CENTRE + 1]
    whole[:, :, CENTRE] = position[:, :, CENTRE]
    return whole


def distances(whole):
    """Distances from every joint of person 0 to every joint of person 1 (T, K, K)."""
    return np.linalg.norm(whole[:, 0, :, None] - whole[:, 1, None], axis=-1)


@pytest.mark.parametrize("heading", ["exact", "released", "clip", "none"])
def test_persons_together_keep_their_relative_position(heading):
    clip = make_clip("a", 6, num_persons=2)
    alone = Clip("b", clip.position[:, :1], KINECT)
    preprocessor = preprocessor_of(2, heading=heading, persons="together")
    position = preprocessor(Batch.from_clips([clip])).position.numpy()
    if heading != "released":  # which is not quite a rotation
        np.testing.assert_allclose(distances(whole_positions(position.copy())), distances(clip.position), atol=1e-4)
    np.testing.assert_allclose(position[:, :1], disentangle(alone, heading=heading), atol=1e-6)
    separate = disentangle(clip, heading=heading)
    assert np.abs(separate[0, 1, CENTRE]).max() == 0, "separate persons all start at the origin"


def test_persons_together_follow_the_first_visible_one():
    """The first person is never visible: the second one defines origin and heading."""
    clip = make_clip("a", 6, num_persons=2)
    clip.position[:, 0], clip.visible[:, 0] = 0, False
    batch = preprocessor_of(2, heading="clip", persons="together")(Batch.from_clips([clip]))
    np.testing.assert_allclose(batch.position.numpy(), disentangle(clip, heading="clip"), atol=1e-6)


def test_interpolated_gaps_equal_what_was_missing():
    clip = moving_clip(6)
    damaged = moving_clip(6)
    damaged.visible[2:4], damaged.visible[4, 0, 5] = False, False
    damaged.position[~damaged.visible] = 0
    batch = preprocessor_of(gaps="interpolate")(Batch.from_clips([damaged]))
    np.testing.assert_allclose(batch.position, disentangle(clip), atol=1e-5)
    assert batch.visible.all()
    assert (disentangle(damaged)[2:4] == 0).all()
