"""Motion-Transformer, H-Transformer and flow prediction: closed forms and properties."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import make_clip, run_of, tiny
from ulna.core import Skeleton, NodeLayout, build, get_skeleton, options
from ulna.data import Batch, Packing
from ulna.batch.persons import Rows, seen_persons
from ulna.encoders import ENCODERS, FrameEncoder, HTransformer, MotionTransformer
from ulna.encoders.h_transformer import join
from ulna.preprocessing import MinMax
from ulna.pretext import Flow
from ulna.pretext.flow import UNIT, choose, octants
from ulna.evaluation import PROTOCOLS, Labelled
from ulna.training import Training
from ulna.models.model import build_pretext

SLOTS = NodeLayout.of(get_skeleton("kinect_v1"), "mixed")


def formed(lengths=(5, 9, 12), num_persons=1, **form):
    clips = [make_clip(f"c{i}", n, num_persons=num_persons, seed=i, speed=0.3) for i, n in enumerate(lengths)]
    return MinMax(**form)(Batch.from_clips(clips))


def motion(num_persons=1, **given):
    return MotionTransformer(SLOTS, num_persons, 150, width=16, num_heads=2, num_blocks=1, **given)


class Ahead(FrameEncoder):
    """An oracle: each frame's feature is the movement to the next frame."""

    def __init__(self, batch):
        super().__init__()
        self.layout, self.num_persons, self.max_frames = batch.layout, 1, 150
        self.frame_width = 3 * len(batch.layout)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, batch):
        following = torch.minimum(torch.arange(batch.num_frames) + 1, batch.packing.start + last(batch))
        return self.scale * (batch.position[following] - batch.position).flatten(1) / UNIT


def last(batch):
    return (batch.packing.of_clips(batch.packing.lengths) - 1)[batch.packing.clip]


def test_octants_of_hand_made_moves():
    moves = torch.tensor([[1.0, 1, 1], [-1, -1, -1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1], [0, 0, 0], [0, 2, 3]])
    assert octants(moves).tolist() == [7, 0, 1, 2, 4, 0, 6]


def test_targets_end_with_their_clip():
    position = torch.zeros(5, 1, 20, 3)
    position[:3, 0, 4, 0] = torch.tensor([0.0, 1.0, 3.0])  # a hand goes along x in the first clip, of 3 frames
    position[3:, 0, 4, 1] = torch.tensor([7.0, 5.0])
    visible = torch.ones(5, 1, 20, dtype=torch.bool)
    visible[1, 0, 9] = False
    movement, counts = Flow(motion()).targets(Batch.pack(position, visible, [3, 2], get_skeleton("kinect_v1")))
    assert movement[:, 4].tolist() == [[1, 0, 0], [2, 0, 0], [0, 0, 0], [0, -2, 0], [0, 0, 0]]
    assert counts[:, 9].tolist() == [False, False, True, True, True]
    least = Flow(motion(), least=1.5).targets(Batch.pack(position, visible, [3, 2], get_skeleton("kinect_v1")))[1]
    assert least[:, 4].tolist() == [False, True, False, True, False]


@pytest.mark.parametrize("block", [1, 4])
def test_chosen_frames(block):
    packing = Packing([40, 1, 7, 100])
    torch.manual_seed(0)
    chosen = [choose(packing, 0.15, block) for _ in range(300)]
    assert all(packing.clip[rows].bincount().tolist() == [6, 1, 1, 15] for rows in chosen)
    often = torch.stack([torch.bincount(rows, minlength=148) for rows in chosen]).sum(dim=0)[48:]
    assert (often > 15).all()  # of 45 expected: every frame of the long clip is asked for
    runs = [rows[rows >= 48].diff().eq(1).sum().item() for rows in chosen]  # frames that follow one another
    assert np.mean(runs) < 4 if block == 1 else np.mean(runs) > 9


def test_corruption_is_80_10_10_and_leaves_the_rest():
    batch, flow = formed([100] * 60), Flow(motion(), share=0.5)
    torch.manual_seed(0)
    chosen = choose(batch.packing, 0.5, 1)
    seen = flow._corrupted(batch, chosen).position
    kept = torch.ones(batch.num_frames, dtype=torch.bool)
    kept[chosen] = False
    assert torch.equal(seen[kept], batch.position[kept])
    zero = (seen[chosen] == 0).flatten(1).all(dim=1).float().mean().item()
    same = (seen[chosen] == batch.position[chosen]).flatten(1).all(dim=1).float().mean().item()
    assert (zero, same) == pytest.approx((0.8, 0.1), abs=0.03)
    for row in chosen.tolist():  # whatever is there is a frame of the same clip
        own = batch.position[batch.packing.clip == batch.packing.clip[row]]
        assert (seen[row] == 0).all() or (seen[row] == own).flatten(1).all(dim=1).any()
    assert Flow(motion(), corrupt_input=False)._corrupted(batch, chosen) is batch


def test_who_sees_the_next_frame_knows_the_octant():
    batch = formed([30] * 8)
    torch.manual_seed(0)
    flow = Flow(Ahead(batch), corrupt_input=False, share=1.0)
    optimizer = torch.optim.Adam(flow.parameters(), 3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        flow.loss(batch).backward()
        optimizer.step()
    movement, counts = flow.targets(batch)
    right = (flow.logits(batch).argmax(dim=-1) == octants(movement))[counts]
    assert right.float().mean() > 0.97


def test_shapes_of_the_head_and_the_losses():
    batch = formed(num_persons=2)
    flow = Flow(motion(2), objective="both", units=4)
    assert flow.logits(batch).shape == (26, 40, 8)
    losses = flow.losses(batch)
    assert {name: len(values) for name, values in losses.items()} == {"octant": 3, "flow": 3}  # 15 % of each clip
    assert list(Flow(motion(2), objective="pose").losses(batch)) == ["pose"]
    with pytest.raises(ValueError, match="predicts no octants"):
        Flow(motion(2), objective="pose").logits(batch)


def test_losses_of_known_predictions():
    """Every prediction zero: ln 8 for an octant, the movement's own smooth L1 and the pose's own square."""
    batch = formed([20])
    both, pose = Flow(motion(), objective="both", share=1.0), Flow(motion(), objective="pose", share=1.0)
    for layer in (both.octant, both.flow, pose.head.layers[-1]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    movement = (both.targets(batch)[0] / UNIT).abs()
    known = torch.where(movement < 1, movement**2 / 2, movement - 0.5).mean(dim=(1, 2))
    losses = both.losses(batch)
    torch.testing.assert_close(losses["octant"], torch.full((20,), np.log(8.0), dtype=torch.float32))
    torch.testing.assert_close(losses["flow"], known)
    torch.testing.assert_close(pose.losses(batch)["pose"], (batch.position**2).mean(dim=(1, 2, 3)))


def test_trunk_is_joined_to_each_limb():
    trunk, *limbs = torch.arange(5.0).repeat_interleave(2)[None].split(2, dim=1)
    assert join(torch.cat([trunk, *limbs], dim=1), 2)[0].tolist() == [0, 0, 1, 1, 0, 0, 2, 2, 0, 0, 3, 3, 0, 0, 4, 4]
    encoder = HTransformer(SLOTS, 1, 150, width=64, num_blocks=8)
    assert [block.attention.qkv.in_features for block in encoder.blocks] == [40, 40, *[64] * 6]
    assert [block.attention.num_heads for block in encoder.blocks] == [5, 5, 4, 4, 2, 2, 1, 1]
    assert sorted(k for part in encoder.places for k in part) == list(range(20))


def test_a_skeleton_without_limbs_is_refused():
    chain = Skeleton.from_joints("chain", ["a", "b", "c"], [-1, 0, 1])
    with pytest.raises(ValueError, match=r"expected joints of the right arm, got a skeleton whose parts are trunk"):
        HTransformer(NodeLayout.of(chain, "mixed"), 1, 10, width=64)


@pytest.mark.parametrize("name", ["motion_transformer", "h_transformer"])
def test_persons_as_rows(name):
    """A person's features do not depend on who else is there, and the embedding is the mean over who is."""
    small = {"width": 16} if name == "h_transformer" else {"width": 16, "num_heads": 2}
    torch.manual_seed(0)
    encoder = build(ENCODERS, options(ENCODERS, name, **small), SLOTS, 2, 150).eval()
    both = formed([6, 9], num_persons=2)
    alone = replace(
        both,
        position=both.position * torch.tensor([1.0, 0.0])[:, None, None],
        visible=both.visible & torch.tensor([True, False])[:, None],
    )
    features, one = encoder(both), encoder(alone)
    torch.testing.assert_close(one[:, :16], features[:, :16])
    assert (one[:, 16:] == 0).all()
    torch.testing.assert_close(encoder.embed(alone), both.packing.mean(features[:, :16]))
    torch.testing.assert_close(encoder.embed(both), both.packing.mean((features[:, :16] + features[:, 16:]) / 2))


@pytest.mark.parametrize("name", ["motion_transformer", "h_transformer"])
def test_readout_of_all_blocks(name):
    """Mean and spread over the frames of what every block gives, then the mean over persons."""
    small = {"width": 16} if name == "h_transformer" else {"width": 16, "num_heads": 2, "norm": "pre"}
    torch.manual_seed(0)
    encoder = build(ENCODERS, options(ENCODERS, name, **small, pooling="blocks"), SLOTS, 2, 150).eval()
    batch = formed([6, 9], num_persons=2)
    embedding, last = encoder.embed(batch), encoder(batch).unflatten(1, (2, 16))
    assert embedding.shape == (2, encoder.embedding_width)
    widths = [10, 16, 16, 16] if name == "h_transformer" else [16] * 4
    assert encoder.embedding_width == 2 * sum(widths)
    mean = batch.packing.mean(last).mean(dim=1)
    torch.testing.assert_close(embedding[:, -32:-16], mean)
    spread = torch.stack([last[:6].std(dim=0, unbiased=False), last[6:].std(dim=0, unbiased=False)]).mean(dim=1)
    torch.testing.assert_close(embedding[:, -16:], spread, atol=1e-4, rtol=1e-3)


def test_positions_start_from_noise_or_from_sines():
    torch.manual_seed(0)
    assert motion().place.table.std().item() == pytest.approx(0.02, rel=0.2)
    place = motion(pos_embed_scale=0.1).place.table.detach()
    torch.testing.assert_close(place[7, :2], 0.1 * torch.tensor([np.sin(7), np.cos(7)]).float())
    with pytest.raises(ValueError, match="pos_embed_scale"):
        motion(pos_embed_scale=-1.0)


def test_rows_and_back():
    batch = formed([3, 2], num_persons=3)
    visible = batch.visible.clone()
    visible[:3, 1] = False  # the second person is not in the first clip
    visible[3, 2] = False  # the third comes late to the second clip
    batch = replace(batch, visible=visible)
    rows = Rows.of(batch)
    assert rows.there.tolist() == [[True, False, True], [True, True, True]]
    assert rows.batch.lengths == [3, 3, 2, 2, 2]
    back = rows.back(rows.batch.position.flatten(1)).unflatten(1, (3, -1))
    there = rows.there[batch.packing.clip]
    assert torch.equal(back[there], batch.position.flatten(2)[there])
    assert (back[~there] == 0).all()
    nobody = replace(batch, visible=torch.zeros_like(visible))
    assert seen_persons(nobody).tolist() == [[True, False, False]] * 2
    assert rows.mean(torch.tensor([[1.0], [3.0], [1.0], [2.0], [6.0]])).tolist() == [[2.0], [3.0]]


def test_attention_of_rows_is_the_mean_over_persons():
    encoder = motion(2).eval()
    batch = formed([6, 9], num_persons=2)
    features, maps = encoder.attend(batch)
    torch.testing.assert_close(features, encoder(batch))
    assert [own.shape for own in maps[0].temporal] == [(2, 6, 6), (2, 9, 9)]
    side = motion(2, persons="side").eval()
    assert [own.shape for own in side.attend(batch)[1][0].temporal] == [(2, 6, 6), (2, 9, 9)]
    torch.testing.assert_close(maps[0].temporal[0].sum(dim=-1), torch.ones(2, 6))


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_norms(norm):
    """Either way what leaves the encoder is normalised; "post" normalises what each branch was added to as well."""
    encoder = motion(norm=norm).eval()
    sums = []
    encoder.blocks[0].ffn.register_forward_pre_hook(lambda _, given: sums.append(given[0]))
    features = encoder(formed())
    torch.testing.assert_close(sums[0].mean(dim=1), torch.zeros(26), atol=1e-5, rtol=0)
    whole = encoder.blocks[0].attention_norm if norm == "post" else encoder.blocks[0].ffn_norm
    heard = []
    whole.register_forward_hook(lambda _, __, made: heard.append(made))
    encoder(formed())
    torch.testing.assert_close(heard[0], sums[0])
    torch.testing.assert_close(features.mean(dim=1), torch.zeros(26), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.std(dim=1, unbiased=False), torch.ones(26), atol=1e-2, rtol=0)


def test_linear_schedule_rises_and_falls():
    training = Training(epochs=10, schedule="linear", warmup=0.1)
    rates = [training.rate(step, 10) for step in range(100)]
    assert rates[:11] == pytest.approx([*np.arange(1, 11) / 10, 1.0], abs=1e-6)
    assert rates[55] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(1 / 90)
    assert Training(warmup=5).rate(1, 10) == pytest.approx(0.4)


def test_gradients_are_clipped(dataset, tmp_path):
    """Gradients of no length: what Adam divides by vanishes in its epsilon, and weights hardly move."""
    moved = []
    for norm in (0.0, 1e-12):
        run = run_of(tiny(epochs=1, clip_norm=norm, precision="bf16-mixed"), dataset, tmp_path / f"run{norm}")
        start = build_pretext(run.recipe, run.skeleton, run.num_persons).state_dict()
        moved.append(max((own - start[name]).abs().max() for name, own in run.pretext.state_dict().items()))
    assert moved[1] < moved[0] / 2


def test_no_gradient_reaches_a_frozen_encoder(dataset, tmp_path):
    recipe = replace(
        tiny(epochs=1),
        encoder=options(ENCODERS, "motion_transformer", width=16, num_heads=2, num_blocks=1),
    )
    run = run_of(recipe, dataset, tmp_path / "run")
    protocol, data = build(PROTOCOLS, options(PROTOCOLS, "linear", epochs=2)), Labelled.of(dataset, "half")
    for _ in protocol.run(run.encoder, protocol.form_for(run, dataset), data, seeds=[0]):
        pass
    assert all(parameter.grad is None for parameter in run.encoder.parameters())
