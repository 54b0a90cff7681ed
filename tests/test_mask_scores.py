"""What is shown follows the scores, and the scores are those of the tokens."""

from dataclasses import replace

import pytest
import torch

from segments_helpers import SKELETON, encoder, formed, look
from ulna.core import NodeLayout
from ulna.data import Packing
from ulna.encoders import SegmentTransformer
from ulna.preprocessing import Shifted
from ulna.nn.hyperbolic import distance, exp0
from ulna.pretext import CrossMasking
from ulna.pretext.masks import ranked


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


@pytest.mark.parametrize(
    "options", [{}, {"attention_source": "frozen", "ranks": "clip"}, {"hierarchy": "graph", "temporal": "motion"}]
)
def test_what_is_chosen_follows_the_score_of_the_very_token(options):
    """Drawn as in training, by the real scores, from which every token differs: in each group the upper third of the
    tokens is shown far more often than the lower third; scores of other tokens would show both alike."""
    task = CrossMasking(encoder(ball_scale=0.2), temperature=0.1, **options)
    segments, tokens, _ = look(task, formed((72,)))
    scores = task.scores(segments, tokens)
    often = sum(task.choose(segments, tokens).is_shown.double() for _ in range(200))
    for group in (0, 1):
        by_score = often[segments.segment % 2 == group][scores[segments.segment % 2 == group].argsort()]
        assert by_score[-72:].mean() > 2 * by_score[:72].mean()


def test_random_shows_all_alike():
    task = CrossMasking(encoder(), hierarchy="random", temporal="random")
    batch = formed((72,))
    torch.manual_seed(0)
    often = sum(look(task, batch)[2].is_shown.double() for _ in range(600)) / 600
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


@pytest.mark.parametrize("among", ["clip", "segment", "joint"])
def test_ranks_by_hand(among):
    """The share of others that score less, one token after the other; equal scores have equal ranks."""
    segments = encoder().cut(formed((72, 40), form=Shifted(long_only=True)))
    scores = torch.randint(0, 6, (segments.tokens.num_frames,), dtype=torch.float64)
    ranks = ranked(segments, scores, 2, among)
    for token in range(0, len(scores), 7):
        alike = (segments.row == segments.row[token]) & (segments.segment % 2 == segments.segment[token] % 2)
        if among == "segment":
            alike &= segments.segment == segments.segment[token]
        elif among == "joint":
            alike &= segments.joint == segments.joint[token]
        less = (scores[alike] < scores[token]).sum() / (alike.sum() - 1)
        assert ranks[token].item() == pytest.approx(less.item())


def test_ranks_make_close_scores_count():
    """Scores that differ by a hundredth: as they are the upper fifth is shown by chance, as ranks it is most of all."""

    def share_of_upper(**options):
        task = CrossMasking(encoder(), temperature=0.2, **options)
        often = sum(task.show(segments, scores).is_shown.double() for _ in range(100))
        return (often[upper].sum() / often.sum()).item()

    segments = encoder().cut(formed((72,)))
    scores = 1 + 0.01 * torch.rand(segments.tokens.num_frames, dtype=torch.float64)
    upper = ranked(segments, scores, 2, "clip") >= 0.8
    assert share_of_upper() == pytest.approx(0.2, abs=0.03)
    assert share_of_upper(ranks="clip") > 0.5


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


def test_frozen_attention_is_among_the_segments_of_a_joint():
    task = CrossMasking(encoder(), attention_source="frozen")
    segments, tokens, _ = look(task, formed((72,)))
    score = task.scores(segments, tokens)
    own = ((segments.joint == 3) & (segments.segment % 2 == 0)).nonzero()[:, 0]
    (maps,) = task.frozen.weights(tokens[own], Packing([12]))
    torch.testing.assert_close(score[own].float(), maps[0].sum(dim=0))


def test_attention_that_scores_drops_nothing():
    task = CrossMasking(encoder(dropout=0.5), attention_source="encoder", attention_block=2)
    segments, tokens, _ = look(task, formed((72,)))
    assert torch.equal(task.scores(segments, tokens), task.scores(segments, tokens))
    assert task.encoder.training


@pytest.mark.parametrize("source", ["ema", "encoder", "frozen"])
def test_attention_where_no_even_segment_shows_anybody(source):
    """Six frames, of which the last three show somebody: there is nothing to score, and the hierarchy draws."""
    batch = formed((6,), form=Shifted(long_only=True))
    batch = replace(batch, visible=batch.visible & (torch.arange(6) >= 3)[:, None, None])
    segments, tokens, shown = look(task := CrossMasking(encoder(), attention_source=source), batch)
    assert segments.segment.unique().tolist() == [1]
    assert (task.scores(segments, tokens) > 0).all()
    assert shown.packing.lengths.tolist() == [1]


def test_attention_is_that_of_the_slow_copy_or_of_the_encoder_as_chosen():
    slow, own = CrossMasking(encoder()), CrossMasking(encoder(), attention_source="encoder")
    batch = formed((72,))
    segments, tokens, _ = look(slow, batch)
    even = segments.segment % 2 == 0
    before = [task.scores(segments, tokens)[even] for task in (slow, own)]
    for task in (slow, own):
        with torch.no_grad():
            task.encoder.blocks[0].attention_norm.weight.mul_(3)
    after = [task.scores(segments, tokens)[even] for task in (slow, own)]
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_hyperbolic_scores_by_hand():
    """Sums of distances to the joints of the segment that are seen, made up for those that are not, and a hundredth of
    the distance to the torso; in a ball of another curvature, with room."""
    c, scale, hand = 0.5, 0.3, SKELETON.index("left_hand")
    batch = formed((72,))
    visible = batch.visible.clone()
    visible[:, :, hand] = False
    batch = replace(batch, visible=visible)
    task = CrossMasking(encoder(curvature=c, ball_scale=scale), temporal="random")
    segments, tokens, _ = look(task, batch)
    scores = task.scores(segments, tokens)
    torso = task.encoder.patches(segments, task.encoder.torso)
    points = exp0(scale * tokens.double(), c)
    for number, joint in ((1, 3), (1, 17), (23, 0)):
        here = (segments.segment == number).nonzero()[:, 0]
        (own,) = here[segments.joint[here] == joint]
        root = exp0(scale * torso[number].double(), c).mean(dim=0)
        far = sum(distance(points[own], points[other], c) for other in here)
        expected = far * 18 / 17 + 0.01 * distance(points[own], root, c)
        assert scores[own].item() == pytest.approx(expected.item(), rel=1e-6)


def test_low_is_drawn_as_mamp_hides():
    """What is hidden is drawn by its score, which is sharper than to draw what is shown."""
    often = {}
    for keep in ("high", "low"):
        task = CrossMasking(encoder(), keep=keep)
        segments = task.encoder.cut(formed((72,)))
        scores = torch.linspace(0, 1, segments.tokens.num_frames, dtype=torch.float64)[torch.randperm(432)]
        shown = sum(task.show(segments, scores).is_shown.double() for _ in range(300))
        thirds = shown[scores.argsort()].view(3, -1).sum(dim=1)
        often[keep] = (thirds.max() / thirds.min()).item()
    assert often["high"] == pytest.approx(2, abs=0.5)
    assert often["low"] > 4


def test_the_graph_needs_a_torso():
    with pytest.raises(ValueError, match="expected a skeleton that names its torso's joints"):
        CrossMasking(SegmentTransformer(NodeLayout(("a", "b")), 1, 12, width=8, num_heads=2), hierarchy="graph")
