"""Segments and their encoder: which tokens there are, and what a clip's embedding is."""

from dataclasses import replace

import numpy as np
import torch

from conftest import make_clip
from segments_helpers import SKELETON, encoder, hacm, mask, shifted
from ulna.batch import Batch, Packing, Segments
from ulna.core import get_skeleton
from ulna.preprocessing import Shifted

KINECT_V1 = get_skeleton("kinect_v1")


def test_tokens_hold_the_frames_and_the_joint_of_their_indices():
    """Token (person, segment, joint) holds just these frames of just this joint."""
    batch = shifted((72, 72), num_persons=2)
    own = encoder(2)
    segments = own.segments(batch)
    patches = segments.patches(segments.persons.batch.position[:, 0], own.joints).flatten(0, 1)
    token = int(((segments.person == 3) & (segments.segment == 5) & (segments.joint == 7)).nonzero())
    expected = batch.position[72 + 15 : 72 + 18, 1, own.joints[7]].flatten()
    assert torch.equal(patches[token], expected)


def test_short_clips_have_fewer_tokens():
    batch = shifted((7, 3, 1), long_only=True)
    segments = encoder().segments(batch)
    assert segments.packing.lengths.tolist() == [3, 1, 1]
    assert segments.frames[2].tolist() == [6, 6, 6], "a segment that is not full repeats the last frame"
    losses = hacm(encoder()).losses(batch)
    assert [len(values) for values in losses.values()] == [3, 3]
    assert losses["contrast"][1:].tolist() == [0, 0], "one segment is in one group only"


def test_pooling_joint_by_joint():
    batch = shifted((72, 20), long_only=True)
    visible = batch.visible.clone()
    visible[72:, :, 11] = False  # a hand that is never visible in the second clip
    batch = replace(batch, visible=visible)
    own = encoder().eval()
    segments = own.segments(batch)
    values = own.encode(own.tokenize(segments), segments.tokens)
    embedding = own.embed(batch, "joints").unflatten(1, (len(own.joints), -1))
    assert own.embedding_dim("joints") == embedding.shape[1] * own.config.embed_dim
    for person, joint in ((0, 0), (1, 3)):
        tokens = values[(segments.person == person) & (segments.joint == joint)]
        torch.testing.assert_close(embedding[person, joint], tokens.mean(dim=0))
    assert (embedding[1, own.joints.index(11)] == 0).all()


def test_pooling_of_all_blocks():
    batch = shifted((72, 20), long_only=True)
    own = encoder().eval()
    segments = own.segments(batch)
    layers = own.layers(own.tokenize(segments), segments.tokens)
    embedding = own.embed(batch, "blocks")
    assert own.embedding_dim("blocks") == embedding.shape[1]
    found = embedding.unflatten(1, (len(layers), len(own.joints), 2, -1))
    tokens = layers[1][(segments.person == 1) & (segments.joint == 3)]
    expected = torch.stack([tokens.mean(dim=0), (tokens.var(dim=0, correction=0) + 1e-6).sqrt()])
    torch.testing.assert_close(found[1, 1, 3], expected)


def test_only_what_is_visible_is_a_token():
    """A person who is visible in the last 12 of 72 frames has 4 segments; one of their hands is never visible."""
    batch = shifted((72,), num_persons=2)
    visible = batch.visible.clone()
    visible[:60, 1] = False
    visible[:, 1, SKELETON.index("left_hand")] = False
    late = replace(batch, visible=visible, position=torch.where(visible[..., None], batch.position, 0))
    task = hacm(encoder(2))
    segments, tokens, shown = mask(task, late)
    assert segments.tokens.lengths.tolist() == [432, 4 * 17]
    assert segments.segment[segments.person == 1].unique().tolist() == [20, 21, 22, 23]
    assert shown.packing.lengths.tolist() == [42, 6]
    assert torch.isfinite(task.score(segments, tokens)).all()
    one = replace(late, position=late.position[60:, 1:], visible=visible[60:, 1:], packing=Packing([12]))
    alone = encoder(1).eval()
    own = alone.segments(one)
    position, both = own.persons.batch.position[:, 0], segments.persons.batch.position[:, 0]
    torch.testing.assert_close(
        alone.embed_patch(own.patches(position, alone.joints))[0],
        task.encoder.embed_patch(segments.patches(both, alone.joints))[44],
    )
    torch.testing.assert_close(alone.embed_torso(own)[0], task.encoder.embed_torso(segments)[44])


def test_persons_of_whom_only_the_torso_is_visible_are_not_in_the_embedding():
    both = shifted((72,), num_persons=2)
    visible = both.visible.clone()
    own = encoder(2).eval()
    visible[:, 1, own.joints] = False
    torso_only = replace(both, visible=visible, position=torch.where(visible[..., None], both.position, 0))
    visible = visible.clone()
    visible[:, 1] = False
    alone = replace(both, visible=visible, position=torch.where(visible[..., None], both.position, 0))
    assert own.segments(torso_only).num_persons == 2
    torch.testing.assert_close(own.embed(torso_only), own.embed(alone))


def test_the_map_into_the_ball_is_that_of_its_curvature_and_scale():
    own = encoder(curvature=0.25, ball_scale=0.5)
    tokens = 3 * torch.randn(5, 16)
    norm = tokens.norm(dim=1, keepdim=True)
    expected = tokens / norm * 2 * torch.tanh(0.5 * 0.5 * norm)
    torch.testing.assert_close(own.ball.map(tokens), expected)
    torch.testing.assert_close(own.layers(tokens, Packing([5]))[0], expected)


def test_near_the_edge_half_precision_changes_nothing():
    own = encoder().eval()
    segments = own.segments(shifted())
    with torch.autocast("cpu", torch.bfloat16):
        half = own.layers(own.tokenize(segments), segments.tokens)[0]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, own.layers(own.tokenize(segments), segments.tokens)[0])


def test_shifted_starts_at_the_origin():
    clips = [make_clip(f"c{i}", n, num_persons=2, seed=i) for i, n in enumerate([50, 90])]
    preprocessor = Shifted(Shifted.Config(), KINECT_V1, 2)
    batch = preprocessor(Batch.from_clips(clips))
    assert batch.lengths == [72, 72]
    centre = KINECT_V1.index("spine")
    assert (batch.position[[0, 72], 0, centre].abs() < 1e-6).all()
    raw = Batch.from_clips(clips)
    moved = replace(raw, position=raw.position + torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(preprocessor(moved).position, batch.position, atol=1e-4, rtol=0)
    assert Shifted(Shifted.Config(long_only=True), KINECT_V1, 2)(raw).lengths == [50, 72]


def test_segments_of_one_frame():
    segments = Segments.of(shifted((1,), long_only=True), 3, list(range(18)))
    assert segments.frames.tolist() == [[0, 0, 0]]
    assert np.array_equal(segments.tokens.lengths, [18])
