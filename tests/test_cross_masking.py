"""HA-CM: what is shown follows the scores, and every token comes back to its place."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import make_clip
from ulna.core import Slots, get_skeleton
from ulna.data import Batch, Packing
from ulna.data.segments import Segments
from ulna.encoders import SegmentTransformer
from ulna.inputs import Shifted
from ulna.pretext import CrossMasking
from ulna.pretext.cross_masking import apart
from ulna.pretext.masks import keep_first

SKELETON = get_skeleton("kinect_v2")
SLOTS = Slots.of(SKELETON, "mixed")


def formed(lengths=(72, 72), num_persons=1, form=None, **how):
    clips = [
        make_clip(f"c{i}", n, skeleton="kinect_v2", num_persons=num_persons, seed=i, **how)
        for i, n in enumerate(lengths)
    ]
    return (form or Shifted())(Batch.from_clips(clips))


def encoder(num_persons=1, **given):
    torch.manual_seed(0)
    sizes = {"width": 16, "num_heads": 2, "num_blocks": 2} | given
    return SegmentTransformer(SLOTS, num_persons, 72, **sizes)


def look(task, batch):
    segments = task.encoder.cut(batch)
    tokens = task.encoder.tokens(segments)
    return segments, tokens, task.choose(segments, tokens)


def test_counts_at_the_sizes_of_the_paper():
    """432 tokens of 18 joints and 24 segments: 21 and 21 shown, 390 hidden."""
    _, tokens, shown = look(CrossMasking(encoder()), formed())
    assert len(tokens) == 2 * 432
    assert shown.packing.lengths.tolist() == [42, 42]
    assert [int((shown.group == g).sum()) for g in (0, 1)] == [42, 42]
    assert int((~shown.is_shown).sum()) == 2 * 390
    assert torch.equal(shown.is_shown.nonzero()[:, 0], shown.places)
    assert len(encoder(prune_torso=False).joints) == 25


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


@pytest.mark.parametrize("keep", ["high", "low"])
def test_how_often_a_token_is_shown_follows_its_score(keep):
    task = CrossMasking(encoder(), keep=keep, temperature=0.3)
    segments = task.encoder.cut(formed((72,)))
    scores = torch.linspace(0, 1, segments.tokens.num_frames, dtype=torch.float64)[torch.randperm(432)]
    often = sum(task.show(segments, scores).is_shown.double() for _ in range(400))
    by_score = often[scores.argsort()].view(6, -1).mean(dim=1)
    steps = by_score.diff() if keep == "high" else -by_score.diff()
    assert (steps > -3).all()
    assert abs(by_score[-1] - by_score[0]) > 60


def test_random_shows_all_alike():
    task = CrossMasking(encoder(), hierarchy="random", temporal="random")
    batch = formed((72,))
    torch.manual_seed(0)
    often = sum(look(task, batch)[2].is_shown.double() for _ in range(600)) / 600
    assert often.mean() == pytest.approx(42 / 432)
    assert often.std() < 0.02  # the binomial's own: 0.012


def test_the_hierarchy_is_that_of_the_tokens():
    """Hyperbolic: a token moved towards the edge of the ball scores higher; graph: hands and feet lie farthest out."""
    task = CrossMasking(encoder(ball_scale=0.2))
    segments, tokens, _ = look(task, formed((72,)))
    odd = int(((segments.segment == 1) & (segments.joint == 4)).nonzero())
    out = tokens.clone()
    out[odd] *= 4
    assert task.scores(segments, out)[odd] > task.scores(segments, tokens)[odd]
    graph = CrossMasking(encoder(), hierarchy="graph").scores(segments, tokens)
    names = [SKELETON.joints[k] for k in task.encoder.joints]
    hops = dict(zip(names, graph[segments.segment == 1].tolist(), strict=True))
    assert (hops["neck"], hops["left_elbow"], hops["left_hand_tip"], hops["right_foot"]) == (1, 1, 4, 3)


def test_hierarchy_per_segment_compares_joints_alone():
    """Every odd segment's highest score is 1, and joints keep their order within it."""
    batch = formed((72, 40), form=Shifted(long_only=True))
    task, own = CrossMasking(encoder()), CrossMasking(encoder(), per_segment=True)
    segments, tokens, _ = look(task, batch)
    whole, relative = task.scores(segments, tokens), own.scores(segments, tokens)
    for number in segments.number[segments.segment % 2 == 1].unique():
        here = segments.number == number
        assert relative[here].max().item() == pytest.approx(1)
        torch.testing.assert_close(relative[here], whole[here] / whole[here].max())
    even = segments.segment % 2 == 0
    assert torch.equal(whole[even], relative[even])


def test_attention_is_that_of_the_block():
    """Received attention is the column mean of the maps; the slow copy begins as the encoder."""
    task = CrossMasking(encoder(), attention_block=2)
    batch = formed((72, 40), form=Shifted(long_only=True))
    segments, tokens, _ = look(task, batch)
    even = (segments.segment % 2 == 0).nonzero()[:, 0]
    packing = Packing([12 * 18, 7 * 18])
    x = task.encoder.blocks[0](task.encoder.mapped(tokens)[even], packing)
    block = task.encoder.blocks[1]
    maps = block.attention.weights(block.attention_norm(x), packing)
    expected = torch.cat([own.mean(dim=(0, 1)) for own in maps])
    torch.testing.assert_close(task.scores(segments, tokens)[even].float(), expected)
    by_encoder = CrossMasking(encoder(), attention_source="encoder", attention_block=2)
    torch.testing.assert_close(by_encoder.scores(segments, tokens), task.scores(segments, tokens))


def test_the_slow_copy_follows():
    task = CrossMasking(encoder(), ema=0.9)
    before = task.teacher.embed_patch.weight.clone()
    with torch.no_grad():
        task.encoder.embed_patch.weight += 1
    task.after_step()
    torch.testing.assert_close(task.teacher.embed_patch.weight, before + 0.1)
    assert CrossMasking(encoder(), attention_source="frozen").teacher is None
    assert CrossMasking(encoder(), temporal="random").teacher is None


def test_motion_scores_what_moves():
    task = CrossMasking(encoder(), temporal="motion", hierarchy="random")
    batch = formed((72,), speed=0.0)
    position = batch.position.clone()
    hand = SKELETON.index("left_hand")
    position[30:33, 0, hand] += torch.tensor([[0.0], [1.0], [0.0]])
    segments, tokens, _ = look(task, replace(batch, position=position))
    best = int(task.scores(segments, tokens).argmax())
    assert int(segments.segment[best]) == 10
    assert task.encoder.joints[int(segments.joint[best])] == hand


def test_shown_tokens_return_to_their_place():
    """With an identity for a decoder and its positions zero, what is shown stands at its own token's place."""
    task = CrossMasking(encoder())
    segments, tokens, shown = look(task, formed())
    seen = []

    class Catch(torch.nn.Module):
        def forward(self, x, packing):
            seen.append(x)
            return x

    task.decoder, task.to_decoder = torch.nn.ModuleList([Catch()]), torch.nn.Identity()
    for table in (task.place.of_joints, task.place.of_time):
        torch.nn.init.zeros_(table)
    task.missed(segments, task.filled(segments, tokens[shown.places], shown), shown)
    torch.testing.assert_close(seen[0][shown.is_shown], tokens[shown.is_shown])
    assert (seen[0][~shown.is_shown] == task.mask_token).all()


def test_the_target_of_a_still_clip_is_nothing():
    batch = formed((72,), speed=0.5)
    still = replace(batch, position=batch.position[:1].expand_as(batch.position))
    task = CrossMasking(encoder())
    assert (task.targets(task.encoder.cut(still)) == 0).all()
    moving = task.targets(task.encoder.cut(batch))
    torch.testing.assert_close(moving.mean(dim=1), torch.zeros(432), atol=1e-4, rtol=0)
    assert moving.std(dim=1).median() == pytest.approx(1, abs=0.01)


def test_contrast_of_known_features():
    torch.manual_seed(0)
    far = 100 * torch.eye(8)
    assert apart(far, far).max() < 1e-6
    alike = torch.ones(8, 4)
    assert apart(alike, alike).mean() * 3 == pytest.approx(3 * (1 - 1 / 8) / 8)


def test_alpha_weighs_both_losses():
    batch = formed()
    plain, weighed = CrossMasking(encoder()), CrossMasking(encoder(), alpha=0.25)
    weighed.load_state_dict(plain.state_dict())
    torch.manual_seed(1)
    one = plain.losses(batch)
    torch.manual_seed(1)
    two = weighed.losses(batch)
    torch.testing.assert_close(two["reconstruction"], 0.75 * one["reconstruction"])
    assert (two["contrast"] < 0.25 * one["contrast"]).all()


def test_gradients_reach_what_learns_and_never_the_scores():
    for source in ("ema", "encoder", "frozen"):
        task = CrossMasking(encoder(), attention_source=source)
        segments, tokens, _ = look(task, formed())
        assert not task.scores(segments, tokens).requires_grad
        task.loss(formed()).backward()
        without = {name for name, p in task.named_parameters() if p.grad is None or not p.grad.any()}
        assert all(name.startswith(("teacher", "frozen")) for name in without)


def test_all_shown_is_the_encoder_itself():
    """What is shown, if everything is, goes the encoder's own way: clips embed as they would downstream."""
    task = CrossMasking(encoder().eval()).eval()
    batch = formed((72, 20), form=Shifted(long_only=True))
    segments, tokens, _ = look(task, batch)
    shown = keep_first(segments, torch.rand(len(tokens), dtype=torch.float64), 2, 1.0)
    assert shown.is_shown.all()
    encoded = task.encoder.encode(task.encoder.mapped(tokens[shown.places]), shown.packing)
    torch.testing.assert_close(segments.rows.mean(shown.packing.mean(encoded)), task.encoder.embed(batch))


def test_readout_joint_by_joint():
    batch = formed((72, 20), form=Shifted(long_only=True))
    present = batch.present.clone()
    present[72:, :, 11] = False  # a hand that the second clip never shows
    batch = replace(batch, present=present)
    by_joint = encoder(readout="joints").eval()
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
    all_blocks = encoder(readout="blocks").eval()
    segments = all_blocks.cut(batch)
    layers = all_blocks.layers(all_blocks.mapped(all_blocks.tokens(segments)), segments.tokens)
    embedding = all_blocks.embed(batch)
    assert all_blocks.embedding_width == embedding.shape[1]
    seen = embedding.unflatten(1, (len(layers), len(all_blocks.joints), 2, -1))
    own = layers[1][(segments.row == 1) & (segments.joint == 3)]
    expected = torch.stack([own.mean(dim=0), (own.var(dim=0, correction=0) + 1e-6).sqrt()])
    torch.testing.assert_close(seen[1, 1, 3], expected)


def test_absent_persons_cost_nothing_and_count_nowhere():
    both = formed((72, 72), num_persons=2)
    present = both.present.clone()
    present[:, 1] = False
    position = torch.where(present[..., None], both.position, 0)
    one = replace(both, present=present, position=position)
    task = CrossMasking(encoder(2).eval()).eval()
    assert task.encoder.cut(one).num_rows == 2
    alone = replace(one, position=position[:, :1], present=present[:, :1], absent=one.absent[:, :1])
    single = encoder(1).eval()
    single.load_state_dict(task.encoder.state_dict())
    torch.testing.assert_close(task.encoder.embed(one), single.embed(alone))
    nobody = replace(both, present=torch.zeros_like(present), position=torch.zeros_like(position))
    assert all((values == 0).all() for values in task.losses(nobody).values())


def test_only_what_is_seen_is_a_token():
    """Someone seen in the last 12 of 72 frames has 4 segments, one hand of whom is never seen."""
    batch = formed((72,), num_persons=2)
    present = batch.present.clone()
    present[:60, 1] = False
    present[:, 1, SKELETON.index("left_hand")] = False
    late = replace(batch, present=present, position=torch.where(present[..., None], batch.position, 0))
    task = CrossMasking(encoder(2))
    segments, tokens, shown = look(task, late)
    assert segments.tokens.lengths.tolist() == [432, 4 * 17]
    assert segments.segment[segments.row == 1].unique().tolist() == [20, 21, 22, 23]
    assert shown.packing.lengths.tolist() == [42, 6]
    assert torch.isfinite(task.scores(segments, tokens)).all()
    one = replace(
        late,
        position=late.position[60:, 1:],
        present=present[60:, 1:],
        packing=Packing([12]),
        absent=late.absent[:, :1],
    )
    alone = encoder(1).eval()
    own = alone.cut(one)
    torch.testing.assert_close(alone.patches(own, alone.joints)[0], task.encoder.patches(segments, alone.joints)[44])


def test_contrast_of_whole_rows_by_hand():
    """Means of the groups and of all; a row with one group alone and one that shows nobody stay out."""
    task = CrossMasking(encoder())
    batch = formed((72, 72, 3, 72), form=Shifted(long_only=True))
    nobody = torch.arange(batch.num_frames) >= 147
    batch = replace(batch, present=batch.present & ~nobody[:, None, None])
    segments, _, shown = look(task, batch)
    encoded = torch.randn(len(shown.places), 16)
    found = task._contrast(segments, encoded, shown)
    row, group = shown.packing.clip, shown.group
    first, second, both = (
        torch.stack([encoded[(row == r) & chosen].mean(dim=0) for r in (0, 1)])
        for chosen in (group == 0, group == 1, group >= 0)
    )
    expected = sum(apart(x, y) for x, y in ((second, both), (first, both), (first, second)))
    torch.testing.assert_close(found, torch.cat([expected, torch.zeros(2)]))
    large = 10 * encoded
    exact = task._contrast(segments, large, shown)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(task._contrast(segments, large, shown), exact)
    figure = CrossMasking(encoder(), alpha=0.5)._contrast(segments, encoded, shown)
    torch.testing.assert_close(figure[:2], apart(second, both) + apart(first, both))


def test_frozen_attention_is_among_the_segments_of_a_joint():
    task = CrossMasking(encoder(), attention_source="frozen")
    segments, tokens, _ = look(task, formed((72,)))
    score = task.scores(segments, tokens)
    own = ((segments.joint == 3) & (segments.segment % 2 == 0)).nonzero()[:, 0]
    (maps,) = task.frozen.weights(tokens[own], Packing([12]))
    torch.testing.assert_close(score[own].float(), maps[0].mean(dim=0))


def test_the_graph_needs_a_torso():
    with pytest.raises(ValueError, match="expected a skeleton that names its torso's joints"):
        CrossMasking(SegmentTransformer(Slots(("a", "b")), 1, 12, width=8, num_heads=2), hierarchy="graph")


def test_near_the_edge_half_precision_changes_nothing():
    own = encoder().eval()
    segments = own.cut(formed())
    with torch.autocast("cpu", torch.bfloat16):
        half = own.mapped(own.tokens(segments))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, own.mapped(own.tokens(segments)))


def test_one_group_is_mamp():
    task = CrossMasking(encoder(ball=False, prune_torso=False), groups=1, temporal="motion", keep="low", contrast=0.0)
    segments, tokens, shown = look(task, formed())
    assert list(task.losses(formed())) == ["reconstruction"]
    assert shown.packing.lengths.tolist() == [60, 60]  # a tenth of 24 * 25
    scores = task.scores(segments, tokens)
    assert scores[shown.is_shown].mean() < scores.mean()
    with pytest.raises(ValueError, match="expected contrast 0 and no alpha with groups 1"):
        CrossMasking(encoder(), groups=1)


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
