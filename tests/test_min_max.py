"""Motion-Transformer's input: visible joints of every clip fill the range, missing ones do not count."""

from dataclasses import replace

import torch

from conftest import make_clip
from ulna.batch import Batch
from ulna.core import get_skeleton
from ulna.encoders.gl_transformer import absent_persons
from ulna.preprocessing import MinMax


def preprocessor_of(num_persons=1, **options):
    return MinMax(MinMax.Config(**options), get_skeleton("kinect_v1"), num_persons)


def test_min_max_fills_the_range():
    clips = [make_clip(f"c{i}", n, num_persons=2, seed=i) for i, n in enumerate([5, 9])]
    raw = Batch.from_clips(clips)
    batch = preprocessor_of(2)(raw)
    for own in batch.packing.split(batch.position):
        torch.testing.assert_close(own.amax(dim=(0, 1, 2)), torch.ones(3))
        torch.testing.assert_close(own.amin(dim=(0, 1, 2)), -torch.ones(3))
    moved = replace(raw, position=raw.position * 2 + torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(preprocessor_of(2)(moved).position, batch.position, atol=1e-4, rtol=0)
    still = replace(raw, position=torch.ones_like(raw.position))
    assert preprocessor_of(2, heading="none")(still).position.count_nonzero() == 0


def test_min_max_keeps_only_the_first_visible_person_if_asked_to():
    clips = [make_clip(f"c{i}", n, num_persons=2, seed=i) for i, n in enumerate([5, 9])]
    raw, preprocessor = Batch.from_clips(clips), preprocessor_of(2, persons="first")
    first = preprocessor(raw)
    assert not first.visible[:, 1].any()
    assert (first.position[:, 1] == 0).all()
    assert first.position[:, 0].max() == 1
    visible = raw.visible.clone()
    visible[:5, 0] = False  # the first visible person of the first clip is the second one
    second = preprocessor(replace(raw, visible=visible))
    assert second.visible[:5, 1].all()
    assert not second.visible[5:, 1].any()
    missing = [~own.any(dim=2).any(dim=0) for own in second.packing.split(second.visible)]
    assert torch.stack(missing).tolist() == [[True, False], [False, True]]
    assert absent_persons(second).tolist() == [[False, False], [False, True]], "the first person is never absent"


def test_min_max_takes_every_nth_frame_of_long_clips():
    whole, short = (
        preprocessor_of(heading="none", max_frames=n)(Batch.from_clips([make_clip("a", 47)])) for n in (150, 15)
    )
    assert short.lengths == [15]
    torch.testing.assert_close(short.position, whole.position[0:45:3])
    assert preprocessor_of(max_frames=150)(Batch.from_clips([make_clip("a", 149)])).lengths == [149]
    for length in (10, 15, 29, 30, 47):
        given = preprocessor_of(heading="none", max_frames=15)
        batch = given(Batch.from_clips([make_clip("a", length)]))
        assert len(given.frame_indices(length, 30.0)) == batch.lengths[0]
    assert preprocessor_of(max_frames=15).frame_indices(47, 30.0).tolist() == list(range(0, 45, 3))


def test_missing_joints_are_neither_filled_nor_measured():
    raw = Batch.from_clips([make_clip("a", 6)])
    position, visible = raw.position.clone(), raw.visible.clone()
    position[:, 0, 7], visible[:, 0, 7] = 0, False  # zeros, far from the body
    batch = preprocessor_of(heading="none")(replace(raw, position=position, visible=visible))
    assert (batch.position[:, 0, 7] == 0).all()
    others = batch.position[:, :, [k for k in range(20) if k != 7]]
    torch.testing.assert_close(others.amin(dim=(0, 1, 2)), -torch.ones(3))
