"""Momentum contrast, VICReg and sums of tasks: closed forms and slow references."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import SMALL_TASKS, encoder_of, make_clip, model_of, pretext_of, tiny
from ulna.batch import Augmentation, Batch
from ulna.core import InputError, get_skeleton
from ulna.models import load
from ulna.preprocessing import Disentangled
from ulna.pretext import MPDP, MomentumContrast, VICReg, WeightedSum

STILL = Augmentation(time_scale=0.0, shear=0.0)


def preprocessor():
    return Disentangled(Disentangled.Config(max_frames=12), get_skeleton("kinect_v1"), 1)


def batch_of(lengths=(5, 9, 7, 12), index=None):
    batch = preprocessor()(Batch.from_clips([make_clip(f"c{i}", n, seed=i) for i, n in enumerate(lengths)]))
    return batch if index is None else replace(batch, index=np.array(index))


def contrast(**options):
    return pretext_of("momentum_contrast", encoder_of("motion_transformer", preprocessor()), **options)


def test_without_negatives_the_loss_is_zero():
    assert contrast().losses(batch_of())["contrast"].abs().max() < 1e-6


def test_equal_negatives_at_a_high_temperature():
    task = contrast(queue=7, temperature=1e6, mask_own=False)
    for _ in range(2):
        task.loss(batch_of())
        task.on_step_end()
    assert task.num_filled == 7
    torch.testing.assert_close(task.losses(batch_of())["contrast"], torch.full((4,), math.log(8)), atol=1e-4, rtol=0)


def test_the_queue_holds_the_last_keys_in_order():
    task = contrast(queue=6)
    keys = []
    for step in range(4):
        clips = torch.arange(4) + 10 * step
        new = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
        keys += list(zip(clips.tolist(), new, strict=True))
        task._enqueue(new, clips)
        newest = dict(keys[-min(6, len(keys)) :])
        assert task.num_filled == min(6, len(keys))
        held = dict(zip(task.queue_clip.tolist(), task.queue, strict=True))
        assert set(newest) <= set(held)
        assert all(torch.equal(held[clip], key) for clip, key in newest.items())
    task._enqueue(torch.randn(9, 8), torch.arange(9))
    assert sorted(task.queue_clip.tolist()) == [3, 4, 5, 6, 7, 8]


def test_own_keys_are_no_negatives():
    batch = batch_of(index=[3, 1, 4, 1])
    masked, plain = (contrast(queue=8, mask_own=own, view=STILL) for own in (True, False))
    for task in (masked, plain):
        task.eval()
        task._enqueue(task._key(batch), torch.tensor([3, 1, 4, 1]))
    key = masked._key(batch)
    logits = masked._logits(masked._query(batch), key, torch.tensor([3, 1, 4, 1]))[:, 1:]
    assert logits.isinf().int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 1, 0, 1]]
    assert masked.losses(batch)["contrast"].isfinite().all()
    assert masked.losses(batch)["contrast"].sum() < plain.losses(batch)["contrast"].sum()


def test_only_the_student_learns_and_the_teacher_follows():
    task = contrast(momentum=0.9, extreme=0.5, view=STILL)
    first = [p.clone() for p in task.teacher.parameters()]
    for student in task.encoder.parameters():
        torch.nn.init.constant_(student, 1.0)
    for _ in range(3):
        task.on_step_end()
    for before, after in zip(first, task.teacher.parameters(), strict=True):
        torch.testing.assert_close(after, 0.9**3 * before + (1 - 0.9**3))
    task.loss(batch_of()).backward()
    assert all(p.grad is None for p in [*task.teacher.parameters(), *task.teacher_projector.parameters()])
    assert all(p.grad is not None for p in task.encoder.parameters())


def test_mined_keys_count_as_positives():
    task = contrast(queue=8, mining_after=0.5, mask_own=False)
    key = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
    task._enqueue(key, torch.arange(4))
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0, 0.0]])
    assert task._positives([logits]).tolist() == [[True, False, False, False, False]]
    task.on_step_start(0.6)
    other = torch.tensor([[0.0, 0.0, 1.0, 5.0, 0.0]])
    assert task._positives([logits, other]).tolist() == [[True, True, False, True, False]]


def test_an_extreme_view_that_is_no_different_costs_the_entropy():
    task = contrast(queue=8, extreme=1.0, temperature=1.0, view=STILL).eval()
    task._enqueue(torch.nn.functional.normalize(torch.randn(8, 8), dim=1), torch.arange(8) + 100)
    batch = batch_of()
    query, key = task._query(batch), task._key(batch)
    p = task._logits(query, key, torch.arange(4)).softmax(dim=1)
    entropy = -(p * p.log()).sum(dim=1)
    import ulna.pretext.momentum_contrast as module

    original, module.extreme_view = module.extreme_view, lambda view: view
    try:
        losses = task.losses(batch)["extreme"]
    finally:
        module.extreme_view = original
    torch.testing.assert_close(losses, entropy)


def vicreg(**options):
    return pretext_of("vicreg", encoder_of("motion_transformer", preprocessor()), **options)


def test_vicreg_against_a_slow_reference():
    task = vicreg(invariance=3.0, variance=2.0, covariance=0.5)
    generator = np.random.default_rng(0)
    one, two = generator.normal(size=(2, 9, task.encoder.embedding_dim())).astype(np.float32)
    loss = task._loss(torch.from_numpy(one), torch.from_numpy(two))
    with torch.no_grad():
        a, b = (task.projector(torch.from_numpy(x)).double().numpy() for x in (one, two))
    expected = 3 * np.mean((a - b) ** 2)
    for z in (a, b):
        expected += 2 / 2 * np.mean(np.maximum(0, 1 - np.sqrt(z.var(axis=0, ddof=1) + 1e-4)))
        covariance = np.cov(z.T)
        expected += 0.5 * (covariance[~np.eye(len(covariance), dtype=bool)] ** 2).sum() / z.shape[1]
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_vicreg_ignores_clips_that_show_nobody():
    batch, three = batch_of((9, 7, 12, 5)), batch_of((9, 7, 12))
    task = vicreg(view=STILL).eval()
    hidden = batch.visible.clone()
    hidden[28:] = False
    nobody = replace(batch, visible=hidden, position=batch.position * hidden[..., None])
    values = task.losses(nobody)["vicreg"]
    torch.testing.assert_close(values, task.losses(three)["vicreg"][:1].expand(4))
    assert not torch.allclose(values, task.losses(batch)["vicreg"])
    nothing = replace(three, visible=torch.zeros_like(three.visible), position=torch.zeros_like(three.position))
    assert task.losses(nothing)["vicreg"].tolist() == [0, 0, 0]


def test_a_sum_of_tasks_is_the_weighted_sum_of_their_losses():
    config = WeightedSum.Config(
        tasks=(MPDP.Config(), MPDP.Config(intervals=(2,)), VICReg.Config(**SMALL_TASKS["vicreg"])), weights=(1, 0.5, 2)
    )
    task = WeightedSum(config, encoder_of("gl_transformer", preprocessor())).eval()
    batch = batch_of()
    torch.manual_seed(0)
    losses = task.losses(batch)
    assert list(losses) == ["direction", "magnitude", "direction_1", "magnitude_1", "vicreg"]
    torch.manual_seed(0)
    for part, weight, names in zip(task.tasks, (1, 0.5, 2), (("", ""), ("_1", "_1"), ("",)), strict=True):
        for (name, values), ending in zip(part.losses(batch).items(), names, strict=True):
            torch.testing.assert_close(losses[name + ending], weight * values)
    assert len({id(part.encoder) for part in task.tasks} | {id(task.encoder)}) == 1


def test_weights_that_do_not_fit():
    with pytest.raises(InputError, match=r"weights: expected one per task \(1\), found 2"):
        WeightedSum.Config(weights=(1.0, 2.0))


def test_the_heads_of_a_sum_are_saved_once_and_read_again(dataset, tmp_path):
    tasks = (MPDP.Config(intervals=(1,)), MomentumContrast.Config(**SMALL_TASKS["momentum_contrast"]))
    recipe = tiny(epochs=1).replace(pretext=WeightedSum.Config(tasks=tasks))
    model = model_of(recipe, dataset, tmp_path / "model")
    heads = model.pretext.heads()
    assert heads
    assert not any(".encoder." in name for name in heads)
    again = load(tmp_path / "model", device="cpu")
    assert int(again.pretext.tasks[1].num_keys) > 0
    for name, value in again.pretext.state_dict().items():
        assert torch.equal(value, model.pretext.state_dict()[name])
