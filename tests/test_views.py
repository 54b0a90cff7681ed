"""Random views: shifts, bone lengths, hidden nodes, AimCLR's extreme view."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import make_clip
from ulna.batch import Augmentation, Batch
from ulna.batch.persons import PersonGroup
from ulna.batch.transforms import scale_bones, shift, swing
from ulna.core import get_skeleton
from ulna.nn.streams import streams_of
from ulna.preprocessing import Disentangled
from ulna.pretext.views import _smoothed, extreme_view, hide_nodes, random_views


def raw(lengths=(7, 4), **options):
    return Batch.from_clips([make_clip(f"c{n}", n, seed=n, **options) for n in lengths])


def preprocessed(lengths=(7, 4), skeleton="kinect_v1", **options):
    batch = raw(lengths, skeleton=skeleton)
    return Disentangled(Disentangled.Config(max_frames=50, **options), get_skeleton(skeleton), 1)(batch)


def test_shifted_clips_are_mirrored_at_their_ends():
    batch = raw()
    frames = shift(batch, np.array([2, -1])).position
    torch.testing.assert_close(frames[:7], batch.position[[2, 3, 4, 5, 6, 6, 5]])
    torch.testing.assert_close(frames[7:], batch.position[[7, 7, 8, 9]])
    assert (shift(batch, np.array([0, 0])).position == batch.position).all()
    draw = Augmentation.draw(np.random.default_rng(0), 2)
    moved = Augmentation(time_scale=0.0, shear=0.0, shift=0.5)(batch, draw)
    expected = shift(batch, np.round(0.5 * draw.shift * [7, 4]).astype(int))
    assert (moved.position == expected.position).all()


def bones_of(batch, changed):
    """Yield each bone before and after a change, which must keep the translation."""
    known, names = batch.skeleton, list(batch.layout.names)
    for joint, nearer in known.outwards:
        if known.joints[joint] not in names or known.joints[nearer] not in names:
            continue
        ends = [names.index(known.joints[k]) for k in (joint, nearer)]
        if batch.layout.root in ends:  # the centre itself is at the origin
            continue
        yield tuple(own.position[:, :, ends[0]] - own.position[:, :, ends[1]] for own in (batch, changed))
    if batch.layout.root is not None:
        root = batch.layout.root
        assert (changed.position[:, :, root] == batch.position[:, :, root]).all(), "the translation stays"


@pytest.mark.parametrize("skeleton", ["kinect_v1", "kinect_v2", "sbu"])
@pytest.mark.parametrize("parts", ["local+global", "local", "mixed"])
def test_bone_scaling_keeps_directions(skeleton, parts):
    batch = preprocessed(skeleton=skeleton, parts=parts, heading="none")
    same = scale_bones(batch, torch.ones(2, 3))
    torch.testing.assert_close(same.position, batch.position, atol=1e-5, rtol=0)
    longer = scale_bones(batch, torch.tensor([[1.2, 1.2, 1.2], [1.0, 1.0, 1.0]]))
    for before, after in bones_of(batch, longer):
        torch.testing.assert_close(after[:7], 1.2 * before[:7], atol=1e-5, rtol=0)
        torch.testing.assert_close(after[7:], before[7:], atol=1e-5, rtol=0)


def test_bone_scaling_of_limbs():
    batch = preprocessed(parts="mixed", heading="none")
    longer = scale_bones(batch, torch.tensor([[1.0, 1.5, 1.0], [1.0, 1.0, 2.0]]))
    index = get_skeleton("kinect_v1").index

    def bone(own, one, two):
        return (own.position[:, 0, index(one)] - own.position[:, 0, index(two)]).norm(dim=-1)

    for one, two, factors in (
        ("left_elbow", "left_shoulder", (1.5, 1)),
        ("head", "shoulder_centre", (1, 1)),
        ("right_foot", "right_ankle", (1, 2)),
    ):
        expected = bone(batch, one, two) * torch.tensor([factors[0]] * 7 + [factors[1]] * 4)
        torch.testing.assert_close(bone(longer, one, two), expected, atol=1e-5, rtol=0)


def test_views_differ_and_follow_the_seed():
    batch = preprocessed()
    torch.manual_seed(3)
    one, two = random_views(batch, Augmentation(shear=0.2, scale=0.1), 2, max_frames=50)
    torch.manual_seed(3)
    again, _ = random_views(batch, Augmentation(shear=0.2, scale=0.1), 2, max_frames=50)
    assert (one.position == again.position).all()
    assert one.position.shape != two.position.shape or not torch.equal(one.position, two.position)


def test_hidden_nodes_are_zero():
    batch = preprocessed((40, 40))
    hidden = hide_nodes(batch, 0.5)
    zero = (streams_of(hidden, ("joint",)) == 0).all(dim=-1)
    assert 0.45 < zero.float().mean() < 0.56
    assert (hidden.position[~zero] == batch.position[~zero]).all()
    assert hide_nodes(batch, 0.0) is batch


def test_extreme_views_of_images_stay_in_the_image():
    batch = replace(preprocessed((30, 30, 30)), dimensions=2)
    view = extreme_view(batch)
    assert not view.position[..., 2].any()
    assert view.position[..., :2].any()


def test_extreme_views_change_bodies_but_not_what_is_visible():
    batch = preprocessed((30, 30, 30, 30, 30, 30))
    torch.manual_seed(0)
    view = extreme_view(batch)
    assert view.lengths == batch.lengths
    assert torch.equal(view.visible, batch.visible)
    assert view.position.isfinite().all()
    changed = (view.position - batch.position).abs().flatten(1).mean(dim=1).view(6, 30).mean(dim=1)
    assert (changed > 1e-4).all(), "every clip is rotated"
    flat = (view.position.view(6, -1, 3).abs().amax(dim=1) == 0).sum(dim=1)
    assert set(flat.tolist()) <= {0, 1}
    assert flat.sum() > 0, "some clips are projected"


def test_smoothing_leaves_bodies_at_rest_alone():
    batch = raw((9, 5))
    still = batch.position[:1].expand_as(batch.position)
    smoothed = _smoothed(replace(batch, position=still), torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(smoothed, still.clone(), atol=1e-5, rtol=1e-5)
    moving = _smoothed(batch, torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(moving[9:], batch.position[9:], atol=1e-5, rtol=1e-5)
    weights = torch.exp(-((torch.arange(9) - 4.0) ** 2) / 8)
    expected = (weights[:, None, None, None] * batch.position[:9]).sum(dim=0) / weights.sum()
    torch.testing.assert_close(moving[4], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("skeleton", ["kinect_v1", "human36m"])
@pytest.mark.parametrize("parts", ["local+global", "local", "mixed"])
def test_swings_keep_the_lengths_of_bones(skeleton, parts):
    batch = preprocessed(skeleton=skeleton, parts=parts, heading="none")
    num_joints, random = get_skeleton(skeleton).num_joints, torch.Generator().manual_seed(0)
    axes = torch.nn.functional.normalize(torch.randn(2, num_joints, 3, generator=random), dim=2)
    same = swing(batch, axes, torch.zeros(11, num_joints))
    torch.testing.assert_close(same.position, batch.position, atol=1e-5, rtol=0)
    swung = swing(batch, axes, torch.randn(11, num_joints, generator=random))
    assert (swung.position - batch.position).abs().max() > 0.1
    for before, after in bones_of(batch, swung):
        torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1), atol=1e-5, rtol=0)


def test_a_joint_turns_what_hangs_on_it():
    """An arm along the x axis whose shoulder turns by 90 degrees about z points up; its elbow turns the hand back."""
    skeleton = get_skeleton("human36m")
    position = torch.zeros(1, 1, 17, 3)
    index = skeleton.index
    for number, joint in enumerate(("left_shoulder", "left_elbow", "left_wrist")):
        position[0, 0, index(joint), 0] = 1.0 + number
    batch = replace(Batch.pack(position, torch.ones(1, 1, 17, dtype=torch.bool), [1], skeleton), preprocessor="test")
    axes, angles = torch.zeros(1, 17, 3), torch.zeros(1, 17)
    axes[..., 2] = 1
    angles[0, index("left_shoulder")] = np.pi / 2
    angles[0, index("left_elbow")] = np.pi / 2
    swung = swing(batch, axes, angles).position[0, 0]
    torch.testing.assert_close(swung[index("left_shoulder")], torch.tensor([1.0, 0, 0]))
    torch.testing.assert_close(swung[index("left_elbow")], torch.tensor([1.0, 1, 0]))
    torch.testing.assert_close(swung[index("left_wrist")], torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0)
    assert (swung[index("right_wrist")] == 0).all()


def test_swings_are_smooth_and_depend_on_the_clip_only():
    batch = preprocessed(skeleton="human36m", heading="none", gaps="interpolate")
    draw = Augmentation.draw(np.random.default_rng(0), 2)
    augmentation = Augmentation(time_scale=0.0, shear=0.0, swing=1.0)
    both = augmentation(batch, draw)
    one = augmentation(PersonGroup._of(batch, np.array([1]), np.array([True])).batch, draw[1:])
    torch.testing.assert_close(both.position[7:], one.position)
    assert not torch.equal(both.position, batch.position)
