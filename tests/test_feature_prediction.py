"""Masked feature prediction: masks, assignments, teacher and losses in closed form."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import encoder_of, make_clip, pretext_of
from ulna.batch import Augmentation, Batch
from ulna.core import InputError, NodeLayout, get_skeleton
from ulna.encoders import TokenFeatures
from ulna.preprocessing import Disentangled
from ulna.pretext import FeaturePrediction
from ulna.pretext.feature_prediction import PrototypeHead, assignments, cross_entropies, spread_loss
from ulna.pretext.tubes import mask_nodes, random_tokens, random_tubes, tube_groups

STILL = Augmentation(time_scale=0.0, shear=0.0)
ENCODERS = ["compact_transformer", "segment_transformer", "gl_transformer"]


def preprocessor(num_persons=1):
    return Disentangled(Disentangled.Config(max_frames=24), get_skeleton("kinect_v1"), num_persons)


def batch_of(lengths=(5, 9, 24, 12), num_persons=1):
    clips = [make_clip(f"c{i}", n, seed=i, num_persons=num_persons) for i, n in enumerate(lengths)]
    return preprocessor(num_persons)(Batch.from_clips(clips))


def task_of(encoder="compact_transformer", num_persons=1, **options):
    return pretext_of("feature_prediction", encoder_of(encoder, preprocessor(num_persons)), **options)


def test_tubes_are_in_one_part_and_one_stretch_of_time():
    layout = NodeLayout.of(get_skeleton("kinect_v1"))
    groups = tube_groups(layout)
    assert sorted(node for group in groups for node in group) == list(range(len(layout)))
    generator = np.random.default_rng(0)
    reached = []
    for _ in range(200):
        mask = random_tubes(8, len(layout), groups, 0.5, generator)
        assert 1 <= mask.sum() <= 80
        reached.append(mask.sum() >= 70)
        one = random_tubes(8, len(layout), groups, 1 / 160, generator)
        assert one.sum() == 1
    assert np.mean(reached) > 0.6, np.mean(reached)
    assert random_tubes(1, 1, [[0]], 0.9, generator).tolist() == [[True]]


def test_random_masks_have_the_ratio_asked_for():
    mask = random_tokens(10, 20, 0.3, np.random.default_rng(0))
    assert mask.sum() == 60
    assert tube_groups(NodeLayout(("a", "b"))) == [[0, 1]]


def test_masks_cover_whole_tokens():
    batch = batch_of((7, 4))
    masks = [
        [random_tokens(3, 20, 0.5, np.random.default_rng(0))],
        [random_tokens(2, 20, 0.5, np.random.default_rng(1))],
    ]
    masked = mask_nodes(batch, masks, 3)
    assert masked.shape == (11, 1, 20)
    assert torch.equal(masked[:7, 0], torch.from_numpy(masks[0][0][[0, 0, 0, 1, 1, 1, 2]]))
    assert torch.equal(masked[7:, 0], torch.from_numpy(masks[1][0][[0, 0, 0, 1]]))


@pytest.mark.parametrize("name", ENCODERS)
def test_masked_tokens_do_not_see_their_input(name):
    batch = batch_of(num_persons=2)
    encoder = encoder_of(name, preprocessor(2)).eval()
    everything = torch.ones(batch.position.shape[:3], dtype=torch.bool)
    other = replace(batch, position=torch.randn_like(batch.position))
    one, two = (encoder.token_features(own, everything) for own in (batch, other))
    torch.testing.assert_close(one.values, two.values)
    whole, part = encoder.token_features(batch), encoder.token_features(batch, torch.zeros_like(everything))
    torch.testing.assert_close(whole.values, part.values)
    assert not part.is_masked.any()
    assert one.is_masked.all()
    torch.testing.assert_close(whole.embedding, encoder.embed(batch, encoder.token_pooling))
    assert whole.clip.bincount().tolist() == [len(whole.values[whole.clip == k]) for k in range(4)]


def test_assignments_use_all_prototypes_equally():
    logits = torch.randn(12, 5)
    found = assignments(logits, 0.5, rounds=50)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(12))
    torch.testing.assert_close(found.sum(dim=0), torch.full((5,), 12 / 5), atol=1e-3, rtol=0)
    torch.testing.assert_close(assignments(torch.zeros(4, 5), 0.07), torch.full((4, 5), 0.2))
    # One round by hand, as written in the paper.
    q = (logits / 0.5).exp().T
    q /= q.sum()
    q = q / q.sum(dim=1, keepdim=True) / 5
    q = q / q.sum(dim=0, keepdim=True) / 12
    torch.testing.assert_close(assignments(logits, 0.5, rounds=1), (q * 12).T)
    assert assignments(torch.zeros(0, 5), 0.1).shape == (0, 5)


def test_cross_entropy_of_equal_distributions_is_the_entropy():
    target = torch.tensor([[0.7, 0.2, 0.1]])
    entropy = -(target * target.log()).sum()
    torch.testing.assert_close(cross_entropies(target, 0.1 * target.log(), 0.1)[0], entropy)


def test_spread_loss_by_hand():
    points = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    torch.testing.assert_close(spread_loss(points), torch.full((3,), -math.log(math.sqrt(2))), atol=1e-4, rtol=0)
    assert spread_loss(points[:1]).tolist() == [0.0]


def test_prototypes_are_compared_by_angle():
    head = PrototypeHead(4, 8, 3, 5)
    with torch.no_grad():
        head.prototypes *= 7
        assert head(torch.randn(6, 4)).abs().max() <= 1 + 1e-5
        head.gain *= 2
        assert head(torch.randn(600, 4)).abs().max() <= 2 + 1e-5


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("target", ["prototypes", "features"])
def test_only_the_student_learns(name, target):
    task = task_of(name, target=target, local_views=1)
    losses = task.losses(batch_of())
    assert set(losses) == {"tokens", "views", "koleo"}
    assert all(values.shape == (4,) for values in losses.values())
    sum(values.sum() for values in losses.values()).backward()
    for part in (task.teacher, task.teacher_token_head, task.teacher_view_head):
        assert all(p.grad is None for p in part.parameters())
    assert all(p.grad is not None for p in task.token_head.parameters())


def test_the_teacher_is_an_average_whose_momentum_rises():
    task = task_of(momentum=(0.9, 1.0))
    first = [p.clone() for p in task.teacher.parameters()]
    for p in task.encoder.parameters():
        torch.nn.init.zeros_(p)
    expected = 1.0
    for progress in (0.0, 0.5, 1.0):
        task.on_step_start(progress)
        task.on_step_end()
        expected *= 1 - 0.1 * (1 + math.cos(math.pi * progress)) / 2
    for before, after in zip(first, task.teacher.parameters(), strict=True):
        torch.testing.assert_close(after, before * expected)
    assert task._teacher_temperature == 0.07
    task.on_step_start(0.1)
    assert task._teacher_temperature == pytest.approx(0.055)


def test_token_losses_are_means_over_masked_views():
    """One masked token in one view of one clip: the loss of that token, whatever the number of clips."""
    task = task_of("compact_transformer", target="features")
    masked = torch.tensor([True, False, False, False])
    values, clip = torch.randn(4, 32), torch.tensor([0, 0, 1, 1])
    students = [
        TokenFeatures(values, masked, clip, values[:2]),
        TokenFeatures(values, ~masked & False, clip, values[:2]),
    ]
    loss = task._token_loss(students, students, torch.tensor([True, True]))
    target = torch.nn.functional.layer_norm(values[:1], (32,))
    expected = (task.token_head(values[:1]) - target).pow(2).mean()
    torch.testing.assert_close(loss.mean(), expected)
    assert loss[1] == 0
    assert task._token_loss(students, students, torch.tensor([False, True])).tolist() == [0, 0]


def test_clips_that_show_nobody_do_not_influence_others(monkeypatch):
    """The view and spreading losses of a batch are those of its clips that show somebody."""
    import ulna.pretext.feature_prediction as module

    task = task_of(masked_views=0.0, local_views=0, view=Augmentation(time_scale=0.0, shear=0.0)).eval()
    batch, shorter = batch_of((9, 7, 12)), batch_of((9, 7))
    frames = torch.arange(batch.num_frames) < 16
    nobody = replace(
        batch, visible=batch.visible & frames[:, None, None], position=batch.position * frames[:, None, None, None]
    )
    monkeypatch.setattr(module, "random_views", lambda batch, *_, **__: [batch, batch])
    three, two = task.losses(nobody), task.losses(shorter)
    for name in ("views", "koleo"):
        torch.testing.assert_close(three[name][:2], two[name])
        assert three[name][2] == 0
        assert (two[name] != 0).all()


def test_half_of_the_views_are_masked():
    task = task_of(masked_views=0.5, mask_ratio=(0.5, 0.9))
    views = [batch_of((24,) * 8), batch_of((24,) * 8)]
    masks = task._masks(views, np.random.default_rng(0))
    shares = torch.cat([mask.float().view(8, -1).mean(dim=1) for mask in masks])
    assert (shares > 0).sum() == 8
    assert (shares[shares > 0] > 0.3).all()
    assert shares.max() <= 0.9


def test_options_that_do_not_fit():
    with pytest.raises(InputError, match=r"mask_ratio: expected the smaller value first, found 0\.9 and 0\.5"):
        FeaturePrediction.Config(mask_ratio=(0.9, 0.5))
