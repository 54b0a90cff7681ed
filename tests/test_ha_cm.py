"""HA-CM learns: every token returns to its own index, and both losses are what they say."""

from dataclasses import replace

import pytest
import torch

from segments_helpers import encoder, hacm, mask, shifted
from ulna.nn.hyperbolic import exp0
from ulna.pretext.ha_cm import contrastive_distance, keep_highest


def test_counts_at_the_sizes_of_the_paper():
    """432 tokens of 18 joints and 24 segments: 21 and 21 visible, 390 masked."""
    _, tokens, visible = mask(hacm(encoder()), shifted())
    assert len(tokens) == 2 * 432
    assert visible.packing.lengths.tolist() == [42, 42]
    assert [int((group == g).sum()) for group in visible.group.view(2, 42) for g in (0, 1)] == [21, 21, 21, 21]
    assert int((~visible.is_visible).sum()) == 2 * 390
    assert torch.equal(visible.is_visible.nonzero()[:, 0], visible.index)
    assert len(encoder(prune_torso=False).joints) == 25


def test_the_teacher_follows_the_encoder():
    task = hacm(encoder(), ema=0.9)
    before = task.teacher.embed_patch.weight.clone()
    with torch.no_grad():
        task.encoder.embed_patch.weight += 1
    task.on_step_end()
    torch.testing.assert_close(task.teacher.embed_patch.weight, before + 0.1)
    assert hacm(encoder(), attention_source="frozen").teacher is None
    assert hacm(encoder(), temporal="random").teacher is None


def test_visible_tokens_return_to_their_index():
    """With an identity for an embedding and position embeddings of zero, each visible token is found at its index."""
    task = hacm(encoder())
    segments, tokens, visible = mask(task, shifted())
    seen = []

    class Catch(torch.nn.Module):
        def forward(self, x, packing):
            seen.append(x)
            return x

    task.decoder.blocks, task.decoder.embed = torch.nn.ModuleList([Catch()]), torch.nn.Identity()
    for table in (task.decoder.pos_embed.of_joints, task.decoder.pos_embed.of_segments):
        torch.nn.init.zeros_(table)
    task.decoder(segments, tokens[visible.index], visible)
    torch.testing.assert_close(seen[0][visible.is_visible], tokens[visible.is_visible])
    assert (seen[0][~visible.is_visible] == task.decoder.mask_token).all()


def test_the_target_of_a_clip_without_motion_is_zero():
    batch = shifted((72,), speed=0.5)
    still = replace(batch, position=batch.position[:1].expand_as(batch.position))
    task = hacm(encoder())
    assert (task.targets(task.encoder.segments(still)) == 0).all()
    moving = task.targets(task.encoder.segments(batch))
    torch.testing.assert_close(moving.mean(dim=1), torch.zeros(432), atol=1e-4, rtol=0)
    assert moving.std(dim=1).median() == pytest.approx(1, abs=0.01)


def test_contrastive_distance_of_known_features():
    torch.manual_seed(0)
    far = 100 * torch.eye(8)
    assert contrastive_distance(far, far).max() < 1e-6
    alike = torch.ones(8, 4)
    assert contrastive_distance(alike, alike).mean() * 3 == pytest.approx(3 * (1 - 1 / 8) / 8)


def test_alpha_weighs_both_losses():
    batch = shifted()
    plain, weighed = hacm(encoder()), hacm(encoder(), alpha=0.25)
    weighed.load_state_dict(plain.state_dict())
    torch.manual_seed(1)
    one = plain.losses(batch)
    torch.manual_seed(1)
    two = weighed.losses(batch)
    torch.testing.assert_close(two["reconstruction"], 0.75 * one["reconstruction"])
    assert (two["contrast"] < 0.25 * one["contrast"]).all()


def test_contrast_is_weighed():
    batch, found = shifted(), []
    for contrast in (1.0, 0.25):
        task = hacm(encoder(), contrast=contrast)
        torch.manual_seed(1)
        found.append(task.losses(batch))
    torch.testing.assert_close(found[1]["contrast"], 0.25 * found[0]["contrast"])
    torch.testing.assert_close(found[1]["reconstruction"], found[0]["reconstruction"])
    assert list(hacm(encoder(), contrast=0.0).losses(batch)) == ["reconstruction"]
    with pytest.raises(ValueError, match="alpha replaces contrast"):
        hacm(encoder(), alpha=0.5, contrast=0.0)


def test_gradients_reach_what_learns_and_never_the_scores():
    for source in ("ema", "encoder", "frozen"):
        task = hacm(encoder(), attention_source=source)
        segments, tokens, _ = mask(task, shifted())
        assert not task.score(segments, tokens).requires_grad
        task.loss(shifted()).backward()
        without = {name for name, p in task.named_parameters() if p.grad is None or not p.grad.any()}
        assert all(name.startswith(("teacher", "frozen")) for name in without)


def test_if_all_tokens_are_visible_clips_are_embedded_as_by_the_encoder():
    task = hacm(encoder().eval()).eval()
    batch = shifted((72, 20), long_only=True)
    segments, tokens, _ = mask(task, batch)
    visible = keep_highest(segments, torch.rand(len(tokens), dtype=torch.float64), 2, 1.0)
    assert visible.is_visible.all()
    encoded = task.encoder.encode(tokens[visible.index], visible.packing)
    torch.testing.assert_close(segments.persons.mean(visible.packing.mean(encoded)), task.encoder.embed(batch))


def test_missing_persons_cost_nothing_and_count_nowhere():
    both = shifted((72, 72), num_persons=2)
    visible = both.visible.clone()
    visible[:, 1] = False
    position = torch.where(visible[..., None], both.position, 0)
    one = replace(both, visible=visible, position=position)
    task = hacm(encoder(2).eval()).eval()
    assert task.encoder.segments(one).num_persons == 2
    alone = replace(one, position=position[:, :1], visible=visible[:, :1])
    single = encoder(1).eval()
    single.load_state_dict(task.encoder.state_dict())
    torch.testing.assert_close(task.encoder.embed(one), single.embed(alone))
    nobody = replace(both, visible=torch.zeros_like(visible), position=torch.zeros_like(position))
    assert all((values == 0).all() for values in task.losses(nobody).values())


def test_targets_by_hand():
    """A joint's motion to the next frame in three frames; none if it is missing in either, or in the last frame."""
    batch = shifted((72, 72), num_persons=2)
    visible = batch.visible.clone()
    visible[100, 1, 11] = False
    task = hacm(encoder(2, curvature=0.5))
    segments = task.encoder.segments(replace(batch, visible=visible))
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
        chosen = (segments.person == row) & (segments.segment == segment)
        chosen &= segments.joint == task.encoder.joints.index(joint)
        torch.testing.assert_close(targets[chosen][0], expected)


def test_only_masked_tokens_are_to_be_predicted():
    """With a decoder that predicts zeros the loss is the mean square of the masked tokens' targets."""
    task = hacm(encoder())
    torch.nn.init.zeros_(task.decoder.predict.weight)
    segments, _, visible = mask(task, shifted((72, 40), long_only=True))
    predicted = task.decoder(segments, torch.randn(len(visible.index), 16), visible)
    square = (task.targets(segments) ** 2).mean(dim=1)
    expected = [square[(segments.person == row) & ~visible.is_visible].mean() for row in (0, 1)]
    torch.testing.assert_close(task.reconstruction_loss(segments, predicted, visible), torch.stack(expected))


def test_the_decoder_adds_position_embeddings():
    """Tokens that are all alike are told apart by their position embeddings alone."""
    task = hacm(encoder(pos_embed_scale=0.3)).eval()
    segments, _, visible = mask(task, shifted((72,)))
    seen = []
    task.decoder.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    task.decoder.embed = torch.nn.Identity()
    torch.nn.init.zeros_(task.decoder.mask_token)
    task.decoder(segments, torch.zeros(len(visible.index), 16), visible)
    table = task.decoder.pos_embed
    expected = table.of_joints[segments.joint] + table.of_segments[segments.segment]
    torch.testing.assert_close(seen[0], expected)


def test_contrastive_loss_by_hand():
    """Means of the groups and of all; persons with one group only and persons who are never visible are left out."""
    task = hacm(encoder())
    batch = shifted((72, 72, 3, 72), long_only=True)
    nobody = torch.arange(batch.num_frames) >= 147
    batch = replace(batch, visible=batch.visible & ~nobody[:, None, None])
    segments, _, visible = mask(task, batch)
    encoded = torch.randn(len(visible.index), 16)
    found = task.contrastive_loss(segments, encoded, visible)
    row, group = visible.packing.clip, visible.group
    first, second, both = (
        torch.stack([encoded[(row == r) & chosen].mean(dim=0) for r in (0, 1)])
        for chosen in (group == 0, group == 1, group >= 0)
    )
    expected = sum(contrastive_distance(x, y) for x, y in ((second, both), (first, both), (first, second)))
    torch.testing.assert_close(found, torch.cat([expected, torch.zeros(2)]))
    large = 10 * encoded
    exact = task.contrastive_loss(segments, large, visible)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(task.contrastive_loss(segments, large, visible), exact)
    figure = hacm(encoder(), alpha=0.5).contrastive_loss(segments, encoded, visible)
    torch.testing.assert_close(figure[:2], contrastive_distance(second, both) + contrastive_distance(first, both))


def test_one_group_is_mamp():
    one_group = {"groups": 1, "temporal": "motion", "visible": "low", "contrast": 0.0}
    task = hacm(encoder(ball=False, prune_torso=False), **one_group)
    segments, tokens, visible = mask(task, shifted())
    assert list(task.losses(shifted())) == ["reconstruction"]
    assert visible.packing.lengths.tolist() == [60, 60]  # a tenth of 24 * 25
    scores = task.score(segments, tokens)
    assert scores[visible.is_visible].mean() < scores.mean()
    with pytest.raises(ValueError, match="expected contrast 0 and no alpha with groups 1"):
        hacm(encoder(), groups=1)
