"""MPDP: targets by hand on closed-form motion, a looped reference, losses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import reference
from conftest import make_clip
from gl_transformer_helpers import SKELETON, disentangled, preprocessed, small
from ulna.batch import Batch
from ulna.core import Clip
from ulna.pretext import MPDP

STILL, ABSENT = 13, 15


def mpdp_of(encoder, **options):
    return MPDP(MPDP.Config(**options), encoder)


def batch_of(path, *, num_persons=1):
    """Positions of one joint taken as they are, as if already preprocessed."""
    clip = Clip("a", np.zeros((len(path), num_persons, 20, 3), np.float32), SKELETON)
    position = torch.zeros(len(path), num_persons, 20, 3, dtype=torch.float64)
    position[:, 0, 4] = torch.tensor(path, dtype=torch.float64)
    return replace(Batch.from_clips([clip]), position=position, layout=disentangled().layout())


def node_targets(path, **options):
    direction, magnitude = mpdp_of(small(), intervals=(1, 3), **options).targets(batch_of(path))
    return direction[:, :, 4].T.tolist(), magnitude[:, :, 4].T.tolist()


def test_steady_motion_by_hand():
    """2.5 cm a frame along +x: d = x[t-n] - x[t] points to -x, classes 0 + 3 + 9."""
    direction, magnitude = node_targets([[0.025 * t, 0, 0] for t in range(5)])
    assert direction == [[STILL, 12, 12, 12, 12]] * 2
    assert magnitude == [[0, 3, 3, 3, 3], [0, 3, 6, 8, 8]]


def test_directions_by_hand():
    steps = [(1, 1, 1), (-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 1, -1)]
    path = np.cumsum([(0, 0, 0), *steps], axis=0) * 0.5
    direction, magnitude = node_targets(path.tolist())
    assert direction[0] == [STILL, 0, 2 + 3 + 9, 1 + 6 + 9, 1 + 3 + 18, 1 + 0 + 18]
    assert magnitude[0] == [0, 14, 14, 14, 14, 14]


def test_early_frames():
    path = [[0.025 * t, 0, 0] for t in range(5)]
    _, first = node_targets(path, early_frames="first")
    _, zero = node_targets(path, early_frames="zero")
    assert first[1] == [0, 3, 6, 8, 8]
    assert zero[1] == [0, 0, 0, 8, 8]


def test_a_clip_of_one_frame_does_not_move():
    direction, magnitude = node_targets([[1.0, 2.0, 3.0]])
    assert (direction, magnitude) == ([[STILL], [STILL]], [[0], [0]])


def test_missing_persons_have_a_class_of_their_own():
    clip = make_clip("a", 6, num_persons=2)
    clip.visible[:, 1] = False
    batch = disentangled(2)(Batch.from_clips([clip]))
    direction, magnitude = mpdp_of(small(2)).targets(batch)
    assert (direction.view(6, 3, 20, 2)[..., 1] == STILL).all()
    assert (magnitude.view(6, 3, 20, 2)[..., 1] == ABSENT).all()
    assert (magnitude.view(6, 3, 20, 2)[..., 0] < ABSENT).all()


def test_gaps_are_no_displacement():
    clip = make_clip("a", 6)
    clip.visible[3] = False
    batch = disentangled()(Batch.from_clips([clip]))
    direction, magnitude = mpdp_of(small(), intervals=(1,)).targets(batch)
    assert (direction[3:5] == STILL).all()
    assert (magnitude[3:5] == 0).all()
    assert (magnitude[5] > 0).any()


def test_targets_agree_with_loops():
    batch = preprocessed([9, 4], 2)
    direction, magnitude = mpdp_of(small(2), intervals=(1, 5)).targets(batch)
    for number, clip in enumerate(batch.packing.split(batch.position)):
        for i, interval in enumerate((1, 5)):
            d, m = reference.classes(clip.transpose(1, 2).double(), len(clip), interval)
            assert (batch.packing.split(direction)[number][:, i] == d.flatten(1)).all()
            differ = batch.packing.split(magnitude)[number][:, i] != m.flatten(1)
            assert differ.float().mean() < 0.01, "float32 norms may be rounded to the other side of a centimetre"


def test_loss_by_hand():
    """Mean over local nodes, plus lambda times the mean over global nodes, of every interval alike."""
    batch, mpdp = preprocessed([5, 7], 2), mpdp_of(small(2), lambda_global=0.05, lambda_magnitude=0.5).eval()
    total = 0.0
    for logits, target, weight in zip(mpdp.logits(batch), mpdp.targets(batch), (1, 0.5), strict=True):
        logits, target = logits.unflatten(2, (20, 2)), target.unflatten(2, (20, 2))
        local = [k for k in range(20) if k != 1]
        total += weight * reference.mean_entropy(logits[:, :, local], target[:, :, local])
        total += weight * 0.05 * reference.mean_entropy(logits[:, :, 1], target[:, :, 1])
    torch.testing.assert_close(mpdp.loss(batch), total)
    assert set(mpdp.losses(batch)) == {"direction", "magnitude"}
    assert all(values.shape == (12,) for values in mpdp.losses(batch).values())


def test_released_loss_differs_in_the_global_term_only():
    batch, mpdp = preprocessed([5, 7], 2), mpdp_of(small(2), intervals=(1, 5)).eval()
    (d, _), (target, _) = mpdp.logits(batch), mpdp.targets(batch)
    d, target = d.unflatten(2, (20, 2)), target.unflatten(2, (20, 2))
    is_global = torch.zeros(2, 20, 2, dtype=torch.bool)
    is_global[0, 1] = True
    expected = reference.mean_entropy(d[:, ~is_global], target[:, ~is_global])
    expected = expected + 0.05 * reference.mean_entropy(d[:, is_global], target[:, is_global])
    only_directions = mpdp_of(mpdp.encoder, intervals=(1, 5), magnitude=False).eval()
    only_directions.direction_head = mpdp.direction_head
    torch.testing.assert_close(only_directions.loss(batch, released=True), expected)


def test_masked_persons_do_not_count():
    clip = make_clip("a", 6, num_persons=2)
    clip.visible[:, 1] = False
    clip.position[:, 1] = 0
    batch = disentangled(2)(Batch.from_clips([clip]))
    torch.manual_seed(0)
    mpdp = mpdp_of(small(2), mask_absent=True).eval()
    before = mpdp.loss(batch)
    with torch.no_grad():
        head = mpdp.direction_head.bias.view(3, 20, 2, 27)
        head[:, :, 1] += torch.randn(27)
    torch.testing.assert_close(mpdp.loss(batch), before)


def test_missing_nodes_do_not_count():
    """The local loss is the mean over the displacements between visible nodes."""
    clip = make_clip("a", 6)
    clip.visible[2:, 0, 5] = False
    clip.position[2:, 0, 5] = 0
    batch = disentangled()(Batch.from_clips([clip]))
    mpdp = mpdp_of(small(), mask_missing=True, magnitude=False, intervals=(1,), lambda_global=0.0).eval()
    logits, target = mpdp.logits(batch)[0], mpdp.targets(batch)[0]
    root = batch.layout.root
    per_frame = []
    for frame in range(6):
        nodes = [k for k in range(20) if k != root and not (k == 5 and frame >= 2)]
        per_frame.append(
            reference.mean_entropy(logits[frame : frame + 1, :, nodes], target[frame : frame + 1, :, nodes])
        )
    torch.testing.assert_close(mpdp.losses(batch)["direction"], torch.stack(per_frame))
    hidden = replace(batch, visible=torch.zeros_like(batch.visible), position=torch.zeros_like(batch.position))
    assert mpdp.loss(hidden) == 0


@pytest.mark.parametrize("parts", ["local", "mixed"])
def test_without_a_root_all_nodes_are_local(parts):
    batch = preprocessed([5, 7], parts=parts)
    mpdp = mpdp_of(small(spec=disentangled(parts=parts).spec), magnitude=False).eval()
    logits, none = mpdp.logits(batch)
    assert none is None
    expected = reference.mean_entropy(logits, mpdp.targets(batch)[0])
    torch.testing.assert_close(mpdp.loss(batch), expected)
    torch.testing.assert_close(mpdp.loss(batch, released=True), expected)


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match=r"intervals.*: expected a number of at least 1, found 0"):
        MPDP.Config(intervals=(0,))


def test_masked_input_is_predicted_as_well(monkeypatch):
    encoder = small()
    pretext = mpdp_of(encoder, mask_ratio=0.4).train()
    batch = preprocessed([12])
    inputs = []
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda group: inputs.append(group.batch) or encode(group))
    torch.manual_seed(0)
    pretext.loss(batch)
    channels = encoder.channels(inputs[0])
    kept = (channels == batch.position).all(dim=-1)
    assert (~kept).float().mean() == pytest.approx(0.4, abs=0.08)
    assert not channels[~kept].any()
    for masked, unmasked in zip(pretext.targets(batch), mpdp_of(encoder).targets(batch), strict=True):
        assert torch.equal(masked, unmasked)
    pretext.eval().loss(batch)
    assert torch.equal(encoder.channels(inputs[1]), batch.position), "nothing is masked in eval mode"
