"""Which tokens stay visible follows the scores, and the scores are those of the tokens."""

from dataclasses import replace

import pytest
import torch

from segments_helpers import SKELETON, encoder, hacm, mask, shifted
from ulna.batch import Packing
from ulna.core import NodeLayout
from ulna.encoders import SegmentTransformer
from ulna.nn.hyperbolic import distance, exp0
from ulna.preprocessing import InputSpec
from ulna.pretext.ha_cm import ranked


@pytest.mark.parametrize("visible", ["high", "low"])
def test_how_often_a_token_is_visible_follows_its_score(visible):
    task = hacm(encoder(), visible=visible, temperature=0.3)
    segments = task.encoder.segments(shifted((72,)))
    scores = torch.linspace(0, 1, segments.tokens.num_frames, dtype=torch.float64)[torch.randperm(432)]
    often = sum(task.mask(segments, scores).is_visible.double() for _ in range(400))
    by_score = often[scores.argsort()].view(6, -1).mean(dim=1)
    steps = by_score.diff() if visible == "high" else -by_score.diff()
    assert (steps > -3).all()
    assert abs(by_score[-1] - by_score[0]) > 60


@pytest.mark.parametrize(
    "options", [{}, {"attention_source": "frozen", "ranks": "clip"}, {"hierarchy": "graph", "temporal": "motion"}]
)
def test_which_tokens_are_visible_follows_their_own_scores(options):
    """Drawn as in training, by real scores, which differ for all tokens: in each group the upper third of the tokens
    is visible far more often than the lower third; with scores of other tokens both would be visible equally often."""
    task = hacm(encoder(ball_scale=0.2), temperature=0.1, **options)
    segments, tokens, _ = mask(task, shifted((72,)))
    scores = task.score(segments, tokens)
    often = sum(task.mask(segments, task.score(segments, tokens)).is_visible.double() for _ in range(200))
    for group in (0, 1):
        by_score = often[segments.segment % 2 == group][scores[segments.segment % 2 == group].argsort()]
        assert by_score[-72:].mean() > 2 * by_score[:72].mean()


def test_random_masks_all_tokens_equally_often():
    task = hacm(encoder(), hierarchy="random", temporal="random")
    batch = shifted((72,))
    torch.manual_seed(0)
    often = sum(mask(task, batch)[2].is_visible.double() for _ in range(600)) / 600
    assert often.std() < 0.02  # standard deviation of the binomial: 0.012


def test_the_hierarchy_is_that_of_the_tokens():
    """Hyperbolic: a token moved towards the edge of the ball scores higher; graph: hands and feet score highest."""
    task = hacm(encoder(ball_scale=0.2))
    segments, tokens, _ = mask(task, shifted((72,)))
    odd = int(((segments.segment == 1) & (segments.joint == 4)).nonzero())
    out = tokens.clone()
    out[odd] *= 4
    assert task.score(segments, out)[odd] > task.score(segments, tokens)[odd]
    graph = hacm(encoder(), hierarchy="graph").score(segments, tokens)
    names = [SKELETON.joints[k] for k in task.encoder.joints]
    hops = dict(zip(names, graph[segments.segment == 1].tolist(), strict=True))
    assert (hops["neck"], hops["left_elbow"], hops["left_hand_tip"], hops["right_foot"]) == (1, 1, 4, 3)


@pytest.mark.parametrize("among", ["clip", "segment", "joint"])
def test_ranks_by_hand(among):
    """The share of the other tokens that score less, token by token; equal scores have equal ranks."""
    segments = encoder().segments(shifted((72, 40), long_only=True))
    scores = torch.randint(0, 6, (segments.tokens.num_frames,), dtype=torch.float64)
    ranks = ranked(segments, scores, 2, among)
    for token in range(0, len(scores), 7):
        alike = (segments.person == segments.person[token]) & (segments.segment % 2 == segments.segment[token] % 2)
        if among == "segment":
            alike &= segments.segment == segments.segment[token]
        elif among == "joint":
            alike &= segments.joint == segments.joint[token]
        less = (scores[alike] < scores[token]).sum() / (alike.sum() - 1)
        assert ranks[token].item() == pytest.approx(less.item())


def test_ranks_make_close_scores_count():
    """If scores differ by a hundredth, the upper fifth is visible by chance; with ranks it is visible most often."""

    def share_of_upper(**options):
        task = hacm(encoder(), temperature=0.2, **options)
        often = sum(task.mask(segments, scores).is_visible.double() for _ in range(100))
        return (often[upper].sum() / often.sum()).item()

    segments = encoder().segments(shifted((72,)))
    scores = 1 + 0.01 * torch.rand(segments.tokens.num_frames, dtype=torch.float64)
    upper = ranked(segments, scores, 2, "clip") >= 0.8
    assert share_of_upper() == pytest.approx(0.2, abs=0.03)
    assert share_of_upper(ranks="clip") > 0.5


def test_attention_is_that_of_the_block():
    """Received attention is the column mean of the maps; the teacher starts as a copy of the encoder."""
    task = hacm(encoder(), attention_block=2)
    batch = shifted((72, 40), long_only=True)
    segments, tokens, _ = mask(task, batch)
    even = (segments.segment % 2 == 0).nonzero()[:, 0]
    packing = Packing([12 * 18, 7 * 18])
    x = task.encoder.blocks[0](task.encoder.ball.map(tokens)[even], packing)
    block = task.encoder.blocks[1]
    maps = block.attention.weights(block.attention_norm(x), packing)
    expected = torch.cat([own.mean(dim=(0, 1)) for own in maps])
    torch.testing.assert_close(task.score(segments, tokens)[even].float(), expected)
    by_encoder = hacm(encoder(), attention_source="encoder", attention_block=2)
    torch.testing.assert_close(by_encoder.score(segments, tokens), task.score(segments, tokens))


def test_motion_scores_what_moves():
    task = hacm(encoder(), temporal="motion", hierarchy="random")
    batch = shifted((72,), speed=0.0)
    position = batch.position.clone()
    hand = SKELETON.index("left_hand")
    position[30:33, 0, hand] += torch.tensor([[0.0], [1.0], [0.0]])
    segments, tokens, _ = mask(task, replace(batch, position=position))
    best = int(task.score(segments, tokens).argmax())
    assert int(segments.segment[best]) == 10
    assert task.encoder.joints[int(segments.joint[best])] == hand


def test_frozen_attention_is_among_the_segments_of_a_joint():
    task = hacm(encoder(), attention_source="frozen")
    segments, tokens, _ = mask(task, shifted((72,)))
    score = task.score(segments, tokens)
    own = ((segments.joint == 3) & (segments.segment % 2 == 0)).nonzero()[:, 0]
    (maps,) = task.frozen.weights(tokens[own], Packing([12]))
    torch.testing.assert_close(score[own].float(), maps[0].sum(dim=0))


def test_attention_scores_are_computed_without_dropout():
    task = hacm(encoder(dropout=0.5), attention_source="encoder", attention_block=2)
    segments, tokens, _ = mask(task, shifted((72,)))
    assert torch.equal(task.score(segments, tokens), task.score(segments, tokens))
    assert task.encoder.training


@pytest.mark.parametrize("source", ["ema", "encoder", "frozen"])
def test_attention_if_nobody_is_visible_in_an_even_segment(source):
    """Somebody is visible in the last three of six frames only: no token is scored by attention, but by hierarchy."""
    batch = shifted((6,), long_only=True)
    batch = replace(batch, visible=batch.visible & (torch.arange(6) >= 3)[:, None, None])
    segments, tokens, visible = mask(task := hacm(encoder(), attention_source=source), batch)
    assert segments.segment.unique().tolist() == [1]
    assert (task.score(segments, tokens) > 0).all()
    assert visible.packing.lengths.tolist() == [1]


def test_attention_is_that_of_the_teacher_or_of_the_encoder_as_chosen():
    slow, own = hacm(encoder()), hacm(encoder(), attention_source="encoder")
    batch = shifted((72,))
    segments, tokens, _ = mask(slow, batch)
    even = segments.segment % 2 == 0
    before = [task.score(segments, tokens)[even] for task in (slow, own)]
    for task in (slow, own):
        with torch.no_grad():
            task.encoder.blocks[0].attention_norm.weight.mul_(3)
    after = [task.score(segments, tokens)[even] for task in (slow, own)]
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_hyperbolic_scores_by_hand():
    """The sum of distances to the visible joints of the segment, scaled to all joints, and a hundredth of the distance
    to the torso; in a ball of another curvature, with a scale below 1."""
    c, scale, hand = 0.5, 0.3, SKELETON.index("left_hand")
    batch = shifted((72,))
    visible = batch.visible.clone()
    visible[:, :, hand] = False
    batch = replace(batch, visible=visible)
    task = hacm(encoder(curvature=c, ball_scale=scale), temporal="random")
    segments, tokens, _ = mask(task, batch)
    scores = task.score(segments, tokens)
    torso = task.encoder.embed_torso(segments)
    points = exp0(scale * tokens.double(), c)
    for number, joint in ((1, 3), (1, 17), (23, 0)):
        here = (segments.segment == number).nonzero()[:, 0]
        (own,) = here[segments.joint[here] == joint]
        root = exp0(scale * torso[number].double(), c).mean(dim=0)
        far = sum(distance(points[own], points[other], c) for other in here)
        expected = far * 18 / 17 + 0.01 * distance(points[own], root, c)
        assert scores[own].item() == pytest.approx(expected.item(), rel=1e-6)


def test_low_is_drawn_as_mamp_masks():
    """Masked tokens are drawn by their scores, which is more selective than to draw the visible ones."""
    often = {}
    for kind in ("high", "low"):
        task = hacm(encoder(), visible=kind)
        segments = task.encoder.segments(shifted((72,)))
        scores = torch.linspace(0, 1, segments.tokens.num_frames, dtype=torch.float64)[torch.randperm(432)]
        visible = sum(task.mask(segments, scores).is_visible.double() for _ in range(300))
        thirds = visible[scores.argsort()].view(3, -1).sum(dim=1)
        often[kind] = (thirds.max() / thirds.min()).item()
    assert often["high"] == pytest.approx(2, abs=0.5)
    assert often["low"] > 4


def test_the_graph_needs_a_torso():
    config = SegmentTransformer.Config(embed_dim=8, num_heads=2)
    without = SegmentTransformer(config, InputSpec(NodeLayout(("a", "b")), 1, 12))
    with pytest.raises(ValueError, match="expected a skeleton with named joints of the torso"):
        hacm(without, hierarchy="graph")
