"""Cross masking learns: every token comes back to its place, and both losses are what they say."""

from dataclasses import replace

import pytest
import torch

from segments_helpers import encoder, formed, look
from ulna.preprocessing import Shifted
from ulna.nn.hyperbolic import exp0
from ulna.pretext import CrossMasking
from ulna.pretext.cross_masking import apart
from ulna.pretext.masks import keep_first


def test_counts_at_the_sizes_of_the_paper():
    """432 tokens of 18 joints and 24 segments: 21 and 21 shown, 390 hidden."""
    _, tokens, shown = look(CrossMasking(encoder()), formed())
    assert len(tokens) == 2 * 432
    assert shown.packing.lengths.tolist() == [42, 42]
    assert [int((group == g).sum()) for group in shown.group.view(2, 42) for g in (0, 1)] == [21, 21, 21, 21]
    assert int((~shown.is_shown).sum()) == 2 * 390
    assert torch.equal(shown.is_shown.nonzero()[:, 0], shown.places)
    assert len(encoder(prune_torso=False).joints) == 25


def test_the_slow_copy_follows():
    task = CrossMasking(encoder(), ema=0.9)
    before = task.teacher.embed_patch.weight.clone()
    with torch.no_grad():
        task.encoder.embed_patch.weight += 1
    task.on_step_end()
    torch.testing.assert_close(task.teacher.embed_patch.weight, before + 0.1)
    assert CrossMasking(encoder(), attention_source="frozen").teacher is None
    assert CrossMasking(encoder(), temporal="random").teacher is None


def test_shown_tokens_return_to_their_place():
    """With an identity for a decoder and its positions zero, what is shown stands at its own token's place."""
    task = CrossMasking(encoder())
    segments, tokens, shown = look(task, formed())
    seen = []

    class Catch(torch.nn.Module):
        def forward(self, x, packing):
            seen.append(x)
            return x

    task.decoder.blocks, task.decoder.embed = torch.nn.ModuleList([Catch()]), torch.nn.Identity()
    for table in (task.decoder.place.of_joints, task.decoder.place.of_time):
        torch.nn.init.zeros_(table)
    task.missed(segments, task.decoder.filled(segments, tokens[shown.places], shown), shown)
    torch.testing.assert_close(seen[0][shown.is_shown], tokens[shown.is_shown])
    assert (seen[0][~shown.is_shown] == task.decoder.mask_token).all()


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


def test_contrast_is_weighed():
    batch, found = formed(), []
    for contrast in (1.0, 0.25):
        task = CrossMasking(encoder(), contrast=contrast)
        torch.manual_seed(1)
        found.append(task.losses(batch))
    torch.testing.assert_close(found[1]["contrast"], 0.25 * found[0]["contrast"])
    torch.testing.assert_close(found[1]["reconstruction"], found[0]["reconstruction"])
    assert list(CrossMasking(encoder(), contrast=0.0).losses(batch)) == ["reconstruction"]
    with pytest.raises(ValueError, match="alpha takes the place of contrast"):
        CrossMasking(encoder(), alpha=0.5, contrast=0.0)


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


def test_absent_persons_cost_nothing_and_count_nowhere():
    both = formed((72, 72), num_persons=2)
    visible = both.visible.clone()
    visible[:, 1] = False
    position = torch.where(visible[..., None], both.position, 0)
    one = replace(both, visible=visible, position=position)
    task = CrossMasking(encoder(2).eval()).eval()
    assert task.encoder.cut(one).num_rows == 2
    alone = replace(one, position=position[:, :1], visible=visible[:, :1], absent=one.absent[:, :1])
    single = encoder(1).eval()
    single.load_state_dict(task.encoder.state_dict())
    torch.testing.assert_close(task.encoder.embed(one), single.embed(alone))
    nobody = replace(both, visible=torch.zeros_like(visible), position=torch.zeros_like(position))
    assert all((values == 0).all() for values in task.losses(nobody).values())


def test_targets_by_hand():
    """A joint's movement to the next frame in three frames; none where either does not show it, or at the end."""
    batch = formed((72, 72), num_persons=2)
    visible = batch.visible.clone()
    visible[100, 1, 11] = False
    task = CrossMasking(encoder(2, curvature=0.5))
    segments = task.encoder.cut(replace(batch, visible=visible))
    targets = task.targets(segments)
    for row, segment, joint in ((0, 5, 11), (3, 9, 11), (2, 23, 15)):
        clip, person = divmod(row, 2)
        frames = clip * 72 + segment * 3 + torch.arange(3)
        moved = torch.zeros(3, 3)
        for k, frame in enumerate(frames.tolist()):
            if frame % 72 < 71 and visible[frame, person, joint] and visible[frame + 1, person, joint]:
                moved[k] = batch.position[frame + 1, person, joint] - batch.position[frame, person, joint]
        flat = exp0(moved, 0.5).flatten()
        expected = (flat - flat.mean()) / (flat.var() + 1e-6).sqrt()
        chosen = (segments.row == row) & (segments.segment == segment)
        chosen &= segments.joint == task.encoder.joints.index(joint)
        torch.testing.assert_close(targets[chosen][0], expected)


def test_only_what_is_hidden_is_to_be_predicted():
    """With a decoder that says nothing the loss is the mean square of the hidden tokens' targets."""
    task = CrossMasking(encoder())
    torch.nn.init.zeros_(task.decoder.predict.weight)
    segments, _, shown = look(task, formed((72, 40), form=Shifted(long_only=True)))
    filled = torch.randn(len(segments.row), 16)
    square = (task.targets(segments) ** 2).mean(dim=1)
    expected = [square[(segments.row == row) & ~shown.is_shown].mean() for row in (0, 1)]
    torch.testing.assert_close(task.missed(segments, filled, shown), torch.stack(expected))


def test_the_decoder_is_told_where_and_when():
    """Tokens that are all alike are told apart by their places alone."""
    task = CrossMasking(encoder(pos_embed_scale=0.3)).eval()
    segments, _, shown = look(task, formed((72,)))
    seen = []
    task.decoder.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    task.missed(segments, torch.zeros(432, 16), shown)
    places = task.decoder.place
    expected = places.of_joints[segments.joint] + places.of_time[segments.segment]
    torch.testing.assert_close(seen[0], expected)


def test_contrast_of_whole_rows_by_hand():
    """Means of the groups and of all; a row with one group alone and one that shows nobody stay out."""
    task = CrossMasking(encoder())
    batch = formed((72, 72, 3, 72), form=Shifted(long_only=True))
    nobody = torch.arange(batch.num_frames) >= 147
    batch = replace(batch, visible=batch.visible & ~nobody[:, None, None])
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


def test_one_group_is_mamp():
    task = CrossMasking(encoder(ball=False, prune_torso=False), groups=1, temporal="motion", keep="low", contrast=0.0)
    segments, tokens, shown = look(task, formed())
    assert list(task.losses(formed())) == ["reconstruction"]
    assert shown.packing.lengths.tolist() == [60, 60]  # a tenth of 24 * 25
    scores = task.scores(segments, tokens)
    assert scores[shown.is_shown].mean() < scores.mean()
    with pytest.raises(ValueError, match="expected contrast 0 and no alpha with groups 1"):
        CrossMasking(encoder(), groups=1)
