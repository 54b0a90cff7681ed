"""Motion-Transformer's input: every clip fills the range, what is unseen does not."""

from dataclasses import replace

import torch

from conftest import make_clip
from ulna.data import Batch
from ulna.preprocessing import MinMax


def test_min_max_fills_the_range():
    clips = [make_clip(f"c{i}", n, num_persons=2, seed=i) for i, n in enumerate([5, 9])]
    raw = Batch.from_clips(clips)
    batch = MinMax()(raw)
    for own in batch.packing.split(batch.position):
        torch.testing.assert_close(own.amax(dim=(0, 1, 2)), torch.ones(3))
        torch.testing.assert_close(own.amin(dim=(0, 1, 2)), -torch.ones(3))
    moved = replace(raw, position=raw.position * 2 + torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(MinMax()(moved).position, batch.position, atol=1e-4, rtol=0)
    first = MinMax(persons="first")(raw)
    assert not first.visible[:, 1].any()
    assert (first.position[:, 1] == 0).all()
    assert first.position[:, 0].max() == 1
    nobody = raw.visible.clone()
    nobody[:5, 0] = False  # of the first clip, the second person is the first seen
    second = MinMax(persons="first")(replace(raw, visible=nobody))
    assert second.visible[:5, 1].all()
    assert not second.visible[5:, 1].any()
    assert second.absent.tolist() == [[True, False], [False, True]]
    still = replace(raw, position=torch.ones_like(raw.position))
    assert MinMax(heading="none")(still).position.isfinite().all()


def test_min_max_takes_every_nth_frame_of_long_clips():
    whole, short = (MinMax(heading="none", max_frames=n)(Batch.from_clips([make_clip("a", 47)])) for n in (150, 15))
    assert short.lengths == [15]
    torch.testing.assert_close(short.position, whole.position[0:45:3])
    assert MinMax(max_frames=150)(Batch.from_clips([make_clip("a", 149)])).lengths == [149]
    for length in (10, 15, 29, 30, 47):
        given = MinMax(heading="none", max_frames=15)
        assert len(given.frames(length)) == given(Batch.from_clips([make_clip("a", length)])).lengths[0]
    assert MinMax(max_frames=15).frames(47).tolist() == list(range(0, 45, 3))


def test_unseen_joints_are_neither_filled_nor_measured():
    raw = Batch.from_clips([make_clip("a", 6)])
    position, visible = raw.position.clone(), raw.visible.clone()
    position[:, 0, 7], visible[:, 0, 7] = 0, False  # zeros, far from the body
    batch = MinMax(heading="none")(replace(raw, position=position, visible=visible))
    assert (batch.position[:, 0, 7] == 0).all()
    seen = batch.position[:, :, [k for k in range(20) if k != 7]]
    torch.testing.assert_close(seen.amin(dim=(0, 1, 2)), -torch.ones(3))
