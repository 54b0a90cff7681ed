"""Segments and their encoder: which tokens there are, and what a clip's embedding is."""

from dataclasses import replace

import numpy as np
import torch

from conftest import make_clip
from segments_helpers import SKELETON, encoder, formed, look
from ulna.core import get_skeleton
from ulna.data import Batch, Packing
from ulna.batch.segments import Segments
from ulna.preprocessing import Shifted
from ulna.pretext import CrossMasking


def test_tokens_are_where_they_say():
    """Token (row, segment, joint) holds just these frames of just this joint."""
    batch = formed((72, 72), num_persons=2)
    own = encoder(2)
    segments = own.cut(batch)
    patches = segments.patches(segments.rows.batch.position[:, 0], own.joints).flatten(0, 1)
    token = int(((segments.row == 3) & (segments.segment == 5) & (segments.joint == 7)).nonzero())
    expected = batch.position[72 + 15 : 72 + 18, 1, own.joints[7]].flatten()
    assert torch.equal(patches[token], expected)


def test_short_clips_have_fewer_tokens():
    batch = formed((7, 3, 1), form=Shifted(long_only=True))
    segments = encoder().cut(batch)
    assert segments.packing.lengths.tolist() == [3, 1, 1]
    assert segments.frames[2].tolist() == [6, 6, 6], "a segment that is not filled repeats the last frame"
    losses = CrossMasking(encoder()).losses(batch)
    assert [len(values) for values in losses.values()] == [3, 3]
    assert losses["contrast"][1:].tolist() == [0, 0], "one segment is in one group alone"


def test_readout_joint_by_joint():
    batch = formed((72, 20), form=Shifted(long_only=True))
    visible = batch.visible.clone()
    visible[72:, :, 11] = False  # a hand that the second clip never shows
    batch = replace(batch, visible=visible)
    by_joint = encoder(pooling="joints").eval()
    segments = by_joint.cut(batch)
    values = by_joint.encode(by_joint.mapped(by_joint.tokens(segments)), segments.tokens)
    embedding = by_joint.embed(batch).unflatten(1, (len(by_joint.joints), -1))
    assert by_joint.embedding_width == embedding.shape[1] * by_joint.width
    for row, joint in ((0, 0), (1, 3)):
        own = values[(segments.row == row) & (segments.joint == joint)]
        torch.testing.assert_close(embedding[row, joint], own.mean(dim=0))
    assert (embedding[1, by_joint.joints.index(11)] == 0).all()


def test_readout_of_all_blocks():
    batch = formed((72, 20), form=Shifted(long_only=True))
    all_blocks = encoder(pooling="blocks").eval()
    segments = all_blocks.cut(batch)
    layers = all_blocks.layers(all_blocks.mapped(all_blocks.tokens(segments)), segments.tokens)
    embedding = all_blocks.embed(batch)
    assert all_blocks.embedding_width == embedding.shape[1]
    seen = embedding.unflatten(1, (len(layers), len(all_blocks.joints), 2, -1))
    own = layers[1][(segments.row == 1) & (segments.joint == 3)]
    expected = torch.stack([own.mean(dim=0), (own.var(dim=0, correction=0) + 1e-6).sqrt()])
    torch.testing.assert_close(seen[1, 1, 3], expected)


def test_only_what_is_seen_is_a_token():
    """Someone seen in the last 12 of 72 frames has 4 segments, one hand of whom is never seen."""
    batch = formed((72,), num_persons=2)
    visible = batch.visible.clone()
    visible[:60, 1] = False
    visible[:, 1, SKELETON.index("left_hand")] = False
    late = replace(batch, visible=visible, position=torch.where(visible[..., None], batch.position, 0))
    task = CrossMasking(encoder(2))
    segments, tokens, shown = look(task, late)
    assert segments.tokens.lengths.tolist() == [432, 4 * 17]
    assert segments.segment[segments.row == 1].unique().tolist() == [20, 21, 22, 23]
    assert shown.packing.lengths.tolist() == [42, 6]
    assert torch.isfinite(task.scores(segments, tokens)).all()
    one = replace(
        late,
        position=late.position[60:, 1:],
        visible=visible[60:, 1:],
        packing=Packing([12]),
        absent=late.absent[:, :1],
    )
    alone = encoder(1).eval()
    own = alone.cut(one)
    torch.testing.assert_close(alone.patches(own, alone.joints)[0], task.encoder.patches(segments, alone.joints)[44])


def test_who_shows_nothing_but_the_torso_is_not_in_the_embedding():
    both = formed((72,), num_persons=2)
    visible = both.visible.clone()
    own = encoder(2).eval()
    visible[:, 1, own.joints] = False
    torso_only = replace(both, visible=visible, position=torch.where(visible[..., None], both.position, 0))
    visible = visible.clone()
    visible[:, 1] = False
    alone = replace(both, visible=visible, position=torch.where(visible[..., None], both.position, 0))
    assert own.cut(torso_only).num_rows == 2
    torch.testing.assert_close(own.embed(torso_only), own.embed(alone))


def test_the_map_into_the_ball_is_that_of_its_curvature_and_room():
    own = encoder(curvature=0.25, ball_scale=0.5)
    tokens = 3 * torch.randn(5, 16)
    norm = tokens.norm(dim=1, keepdim=True)
    expected = tokens / norm * 2 * torch.tanh(0.5 * 0.5 * norm)
    torch.testing.assert_close(own.mapped(tokens), expected)


def test_near_the_edge_half_precision_changes_nothing():
    own = encoder().eval()
    segments = own.cut(formed())
    with torch.autocast("cpu", torch.bfloat16):
        half = own.mapped(own.tokens(segments))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, own.mapped(own.tokens(segments)))


def test_shifted_starts_at_the_origin():
    clips = [make_clip(f"c{i}", n, num_persons=2, seed=i) for i, n in enumerate([50, 90])]
    batch = Shifted()(Batch.from_clips(clips))
    assert batch.lengths == [72, 72]
    centre = get_skeleton("kinect_v1").index("spine")
    assert (batch.position[[0, 72], 0, centre].abs() < 1e-6).all()
    raw = Batch.from_clips(clips)
    moved = replace(raw, position=raw.position + torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(Shifted()(moved).position, batch.position, atol=1e-4, rtol=0)
    assert Shifted(long_only=True)(raw).lengths == [50, 72]


def test_segments_of_nothing_but_one_frame():
    segments = Segments.of(formed((1,), form=Shifted(long_only=True)), 3, list(range(18)))
    assert segments.frames.tolist() == [[0, 0, 0]]
    assert np.array_equal(segments.tokens.lengths, [18])
