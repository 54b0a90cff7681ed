"""Disentangling and heading, on movement whose answer is known by hand."""

import numpy as np
import pytest
import torch

from conftest import make_clip
from ulna.core import Clip, Skeleton, get_skeleton
from ulna.data import Batch
from ulna.preprocessing import Disentangled, disentangle

KINECT = get_skeleton("kinect_v1")
CENTRE, LEFT, RIGHT = (KINECT.index(joint) for joint in (KINECT.centre, *KINECT.shoulders))


def moving_clip(num_frames=5, num_persons=1):
    """The whole body moves 0.1 m a frame along x; joints stay where they are in the body."""
    rest = np.random.default_rng(1).normal(0, 0.3, (num_persons, 20, 3)) + np.array([0, 1, 3])
    path = np.arange(num_frames)[:, None, None, None] * [0.1, 0, 0]
    return Clip("a", (rest + path).astype(np.float32), KINECT)


def test_translation_and_local_motion_are_apart():
    clip = moving_clip()
    formed = disentangle(clip, heading="none")
    np.testing.assert_allclose(formed[:, 0, CENTRE, 0], [0, 0.1, 0.2, 0.3, 0.4], atol=1e-6)
    others = [k for k in range(20) if k != CENTRE]
    np.testing.assert_allclose(formed[:, :, others], np.broadcast_to(formed[:1, :, others], (5, 1, 19, 3)), atol=1e-6)
    np.testing.assert_allclose(formed[0, 0, 3], clip.position[0, 0, 3] - clip.position[0, 0, CENTRE], atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.5, 3.0, -2.0])
def test_exact_facing_undoes_any_turn(angle):
    """A body turned about the vertical, by an angle of its own in each frame, looks the same."""
    clip = make_clip("a", 6)
    turned = clip.position.copy()
    for t in range(6):
        cos, sin = np.cos(angle * (t + 1)), np.sin(angle * (t + 1))
        turned[t] = turned[t] @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], dtype=np.float32)
    straight, again = disentangle(clip), disentangle(Clip("b", turned, KINECT))
    local = [k for k in range(20) if k != CENTRE]
    np.testing.assert_allclose(straight[:, :, local], again[:, :, local], atol=1e-5)
    across = again[:, 0, RIGHT] - again[:, 0, LEFT]
    np.testing.assert_allclose(across[:, 2], 0, atol=1e-6)
    assert (across[:, 0] > 0).all()


def test_released_facing_is_nearly_exact_where_its_sign_holds():
    clip = make_clip("a", 6)
    np.testing.assert_allclose(disentangle(clip, heading="released"), disentangle(clip), atol=0.05)


def test_parts():
    batch = Batch.from_clips([moving_clip()])
    mixed = Disentangled(heading="none", parts="mixed")(batch)
    raw = batch.position - batch.position[:1, :, CENTRE : CENTRE + 1]
    torch.testing.assert_close(mixed.position, raw)
    local = Disentangled(heading="none", parts="local")(batch)
    assert local.position.shape == (5, 1, 19, 3)
    assert KINECT.centre not in local.layout.names
    torch.testing.assert_close(local.position[0], local.position[4], atol=1e-6, rtol=0)


def test_who_enters_late_moves_from_where_they_entered():
    clip = moving_clip(num_persons=2)
    clip.position[:2, 1] = 0
    clip.visible[:2, 1] = False
    formed = disentangle(clip, heading="none")
    assert (formed[:2, 1] == 0).all()
    np.testing.assert_allclose(formed[2:, 1, CENTRE, 0], [0, 0.1, 0.2], atol=1e-6)
    assert Batch.from_clips([clip]).absent.tolist() == [[False, True]]


def test_an_unseen_centre_is_held():
    clip = moving_clip()
    clip.position[2, 0, CENTRE] = 0
    clip.visible[2, 0, CENTRE] = False
    formed = disentangle(clip, heading="none")
    np.testing.assert_allclose(formed[:, 0, CENTRE, 0], [0, 0.1, 0.1, 0.3, 0.4], atol=1e-6)
    np.testing.assert_allclose(formed[2, 0, 3] - formed[1, 0, 3], [0.1, 0, 0], atol=1e-6)
    clip.position[2, 0, 5] = 0
    clip.visible[2, 0, 5] = False
    assert (disentangle(clip)[2, 0, 5] == 0).all()


def test_clips_do_not_leak_into_one_another():
    clips = [make_clip("a", 3), make_clip("b", 1), make_clip("c", 6)]
    clips[1].visible[:, :, CENTRE] = False
    together = Disentangled()(Batch.from_clips(clips))
    for clip, part in zip(clips, together.packing.split(together.position), strict=True):
        np.testing.assert_allclose(part.numpy(), disentangle(clip), atol=1e-6)


def test_a_shoulder_that_is_never_seen_turns_nothing():
    clip = make_clip("a", 5)
    clip.visible[:, :, LEFT] = False
    clip.position[:, :, LEFT] = 0
    np.testing.assert_array_equal(disentangle(clip), disentangle(clip, heading="none"))


def test_facing_needs_shoulders():
    skeleton = Skeleton.from_joints("own", ["a", "b"], [-1, 0])
    clip = Clip("x", np.ones((3, 1, 2, 3), np.float32), skeleton)
    with pytest.raises(ValueError, match="names no shoulders"):
        disentangle(clip)
    assert disentangle(clip, heading="none").shape == (3, 1, 2, 3)


def test_fixed_length_takes_whole_clips():
    form = Disentangled(heading="none", num_frames=8, max_frames=10)
    assert form.crop is None
    assert Disentangled(max_frames=10).crop == 10
    batch = form(Batch.from_clips([moving_clip(20)], max_frames=form.crop))
    np.testing.assert_allclose(batch.position[-1, 0, CENTRE, 0], (7 * 20 / 8) * 0.1, atol=0.01)
    with pytest.raises(ValueError, match="num_frames: expected a number at least 1 and at most 10, got 11"):
        Disentangled(num_frames=11, max_frames=10)


def test_facing_by_clip_turns_all_frames_alike():
    """Turning the camera changes nothing; a body that turns round is still seen to turn."""
    clip = make_clip("a", 6)
    cos, sin = np.cos(2.0), np.sin(2.0)
    camera = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], dtype=np.float32)
    again = Clip("b", clip.position @ camera, KINECT)
    seen = disentangle(clip, heading="clip")
    np.testing.assert_allclose(seen, disentangle(again, heading="clip"), atol=1e-5)
    across = seen[:, 0, RIGHT] - seen[:, 0, LEFT]
    np.testing.assert_allclose(across.mean(axis=0)[2], 0, atol=1e-6)
    assert across.mean(axis=0)[0] > 0
    still = disentangle(clip, heading="none")
    np.testing.assert_allclose(np.linalg.norm(seen, axis=-1), np.linalg.norm(still, axis=-1), atol=1e-5)
    np.testing.assert_allclose(np.diff(seen, axis=0)[..., 1], np.diff(still, axis=0)[..., 1], atol=1e-6)


def test_long_clips_are_cut_or_resampled():
    batch = Batch.from_clips([moving_clip(20), moving_clip(5)])
    form = Disentangled(heading="none", max_frames=10, long_clips="resample")
    assert form.crop is None
    formed = form(batch)
    assert formed.lengths == [10, 5]
    path = formed.position[:10, 0, CENTRE, 0]
    torch.testing.assert_close(path.diff(), torch.full((9,), 0.2), atol=1e-5, rtol=0)
    short = Disentangled(heading="none", max_frames=10)(Batch.from_clips([moving_clip(5)]))
    torch.testing.assert_close(formed.position[10:], short.position)
    assert Disentangled(max_frames=10).crop == 10


def places(formed):
    """Where joints are (T, P, K, 3), of disentangled ones."""
    whole = formed + formed[:, :, CENTRE : CENTRE + 1]
    whole[:, :, CENTRE] = formed[:, :, CENTRE]
    return whole


def between(whole):
    """Distances from every joint of person 0 to every joint of person 1 (T, K, K)."""
    return np.linalg.norm(whole[:, 0, :, None] - whole[:, 1, None], axis=-1)


@pytest.mark.parametrize("heading", ["exact", "released", "clip", "none"])
def test_persons_together_stay_where_they_are_to_one_another(heading):
    clip = make_clip("a", 6, num_persons=2)
    alone = Clip("b", clip.position[:, :1], KINECT)
    form = Disentangled(heading=heading, persons="together")
    seen = form(Batch.from_clips([clip])).position.numpy()
    if heading != "released":  # that one is not quite a rotation
        np.testing.assert_allclose(between(places(seen.copy())), between(clip.position), atol=1e-4)
    np.testing.assert_allclose(seen[:, :1], disentangle(alone, heading=heading), atol=1e-6)
    assert np.abs(disentangle(clip, heading=heading)[0, 1, CENTRE]).max() == 0, "apart, everybody starts at the origin"


def test_persons_together_go_by_whoever_is_seen_first():
    """The first person is never there: the second one gives origin and heading."""
    clip = make_clip("a", 6, num_persons=2)
    clip.position[:, 0], clip.visible[:, 0] = 0, False
    formed = Disentangled(heading="clip", persons="together")(Batch.from_clips([clip])).position.numpy()
    np.testing.assert_allclose(formed, disentangle(clip, heading="clip"), atol=1e-6)


def test_filled_gaps_look_like_what_was_there():
    clip = moving_clip(6)
    hurt = moving_clip(6)
    hurt.visible[2:4], hurt.visible[4, 0, 5] = False, False
    hurt.position[~hurt.visible] = 0
    form = Disentangled(gaps="fill")
    formed = form(Batch.from_clips([hurt]))
    np.testing.assert_allclose(formed.position, disentangle(clip), atol=1e-5)
    assert formed.visible.all()
    assert (disentangle(hurt)[2:4] == 0).all()
