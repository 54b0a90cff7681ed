"""Predict & Cluster's preparation: view by the first frame, scaling of clips, stride."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import make_clip
from ulna.batch import Batch
from ulna.core import InputError, get_skeleton
from ulna.preprocessing import Disentangled
from ulna.preprocessing.scaling import every_nth_frame, scaled
from ulna.preprocessing.view import trunk_and_hips, view_by_first_frame

KINECT = get_skeleton("kinect_v1")


def raw(*lengths, **options):
    return Batch.from_clips([make_clip(f"c{n}", n, seed=n, **options) for n in lengths])


def joint(position, name):
    return position[:, 0, KINECT.index(name)]


def test_the_first_frame_is_upright_and_faces_the_viewer():
    batch = raw(8, 5)
    moved = view_by_first_frame(batch.position, batch)
    for start in (0, 8):
        hips, spine, left, right = (joint(moved, name)[start] for name in trunk_and_hips(KINECT))
        torch.testing.assert_close(hips, torch.zeros(3), atol=1e-6, rtol=0)
        torch.testing.assert_close(spine[[0, 2]], torch.zeros(2), atol=1e-6, rtol=0)
        assert spine[1] > 0
        assert (right - left)[2].abs() < 1e-6
        assert (right - left)[0] > 0
    old, new = (own[:, 0, :, None] - own[:, 0, None] for own in (batch.position, moved))
    torch.testing.assert_close(new.norm(dim=-1), old.norm(dim=-1), atol=1e-5, rtol=0)
    volumes = [torch.linalg.det(own[:, 0, 1:4] - own[:, 0, :1]) for own in (batch.position, moved)]
    torch.testing.assert_close(*volumes, atol=1e-5, rtol=1e-4)


def test_the_view_does_not_depend_on_the_camera():
    batch = raw(8, 5)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    other = batch.position @ torch.from_numpy(turn).float().T + torch.tensor([1.0, -2.0, 3.0])
    torch.testing.assert_close(
        view_by_first_frame(other, replace(batch, position=other)), view_by_first_frame(batch.position, batch),
        atol=1e-5, rtol=0,
    )  # fmt: skip


def test_a_first_frame_without_hips_is_skipped():
    batch = raw(6)
    visible = batch.visible.clone()
    visible[:2, 0, KINECT.index("left_hip")] = False
    position = batch.position.clone()
    position[2, 0, KINECT.index("right_hip")] = position[2, 0, KINECT.index("left_hip")] + 1e-3
    hidden = replace(batch, visible=visible, position=position)
    moved = view_by_first_frame(position, hidden)
    torch.testing.assert_close(joint(moved, "hip_centre")[3], torch.zeros(3), atol=1e-6, rtol=0)
    nobody = replace(batch, visible=torch.zeros_like(visible))
    assert (view_by_first_frame(batch.position, nobody) == batch.position).all()


def test_skeletons_without_hips_are_refused():
    fish = replace(KINECT, parts={"trunk": KINECT.joints})
    with pytest.raises(InputError, match=r"names no trunk above two hips.*Use view 'none'"):
        trunk_and_hips(fish)
    assert trunk_and_hips(get_skeleton("kinect_v2")) == ("spine_base", "spine_mid", "left_hip", "right_hip")
    with pytest.raises(InputError, match="view 'first' needs depth"):
        Disentangled(Disentangled.Config(view="first"), KINECT, 1, dimensions=2)


def test_scaling_fills_the_range():
    batch = raw(8, 5, num_persons=2)
    full = scaled(batch.position, batch.visible, batch.packing)
    for clip in batch.packing.split(full):
        torch.testing.assert_close(clip.flatten(0, 2).amin(dim=0), -torch.ones(3))
        torch.testing.assert_close(clip.flatten(0, 2).amax(dim=0), torch.ones(3))
    torch.testing.assert_close(scaled(full, batch.visible, batch.packing), full)
    uniform = scaled(batch.position, batch.visible, batch.packing, uniform=True)
    for old, new in zip(batch.packing.split(batch.position), batch.packing.split(uniform), strict=True):
        low, high = new.flatten(0, 2).amin(dim=0), new.flatten(0, 2).amax(dim=0)
        torch.testing.assert_close(low, -high)
        assert high.max() == pytest.approx(1)
        ratio = (new[1:] - new[:1]).norm(dim=-1) / (old[1:] - old[:1]).norm(dim=-1)
        torch.testing.assert_close(ratio, ratio[:1, :1, :1].expand_as(ratio), atol=1e-3, rtol=1e-3)
    still = torch.ones_like(batch.position)
    assert scaled(still, batch.visible, batch.packing).count_nonzero() == 0


@pytest.mark.parametrize(
    ("length", "frames"),
    [(50, range(50)), (51, range(50)), (99, range(50)), (120, range(0, 100, 2)), (201, range(0, 200, 4))],
)
def test_stride_keeps_the_frames_of_the_published_code(length, frames):
    assert every_nth_frame(length, 50).tolist() == list(frames)
    config = Disentangled.Config(max_frames=50, long_clips="stride", heading="none", view="first", scale="axis")
    form = Disentangled(config, KINECT, 1)
    batch = raw(length)
    assert form(batch).lengths == [len(frames)]
    assert form.kept_frames(length).tolist() == list(frames)
    assert form.frames_to_read(np.array([30.0])) is None


def test_predict_and_cluster_as_a_whole():
    """Steps 1, 4 and 5 of the preparation, written as loops, then GL-Transformer's disentangling."""
    clip = make_clip("a", 120)
    config = Disentangled.Config(max_frames=50, long_clips="stride", heading="none", view="first", scale="axis")
    found = Disentangled(config, KINECT, 1)(Batch.from_clips([clip])).position[:, 0].numpy()
    x = clip.position[:, 0].astype(np.float64)
    pelvis, spine, left, right = (KINECT.index(name) for name in trunk_and_hips(KINECT))
    up = x[0, spine] - x[0, pelvis]
    up /= np.linalg.norm(up)
    across = x[0, right] - x[0, left]
    across -= across @ up * up
    across /= np.linalg.norm(across)
    x = (x - x[0, pelvis]) @ np.stack([across, up, np.cross(across, up)]).T
    for axis in range(3):
        values = x[..., axis]
        x[..., axis] = 2 * (values - values.min()) / (values.max() - values.min()) - 1
    x = x[0:100:2]
    centre = KINECT.index(KINECT.centre)
    expected = x - x[:, centre : centre + 1]
    expected[:, centre] = x[:, centre] - x[0, centre]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_clips_that_are_cut_are_scaled_as_a_whole():
    config = Disentangled.Config(max_frames=50, heading="none", scale="axis", parts="mixed")
    form = Disentangled(config, KINECT, 1)
    batch = raw(70)
    whole = scaled(batch.position, batch.visible, batch.packing)[:50]
    whole = whole - whole[:1, :, KINECT.index(KINECT.centre)][:, :, None]
    torch.testing.assert_close(form(batch).position, whole)
