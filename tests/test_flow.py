"""Motion-Transformer, H-Transformer and flow prediction: closed forms and properties."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import make_clip, model_of, tiny
from ulna.batch import Batch, Packing, PersonSequences
from ulna.batch.persons import visible_persons
from ulna.core import NodeLayout, Skeleton, get_skeleton
from ulna.encoders import ENCODERS, Encoder, FrameEncoder, HTransformer, MotionTransformer
from ulna.encoders.h_transformer import merge_parts
from ulna.evaluation import LabelledSplit, RunOptions
from ulna.evaluation.protocols import Linear
from ulna.models import Training
from ulna.preprocessing import InputSpec, MinMax
from ulna.pretext import Flow
from ulna.pretext.flow import UNIT, choose_frames, octants

SKELETON = get_skeleton("kinect_v1")
SMALL = {"motion_transformer": {"embed_dim": 16, "num_heads": 2}, "h_transformer": {"embed_dim": 16}}


def min_max(num_persons=1, **options):
    return MinMax(MinMax.Config(**options), SKELETON, num_persons)


def preprocessed(lengths=(5, 9, 12), num_persons=1, **options):
    clips = [make_clip(f"c{i}", n, num_persons=num_persons, seed=i, speed=0.3) for i, n in enumerate(lengths)]
    return min_max(num_persons, **options)(Batch.from_clips(clips))


def motion(num_persons=1, **options):
    config = MotionTransformer.Config(embed_dim=16, num_heads=2, depth=1, **options)
    return MotionTransformer(config, min_max(num_persons).spec)


def seeded(name, num_persons, **options):
    """A seeded encoder of the table, in eval mode."""
    torch.manual_seed(0)
    return ENCODERS[name](ENCODERS.config(name)(**SMALL[name] | options), min_max(num_persons).spec).eval()


def flow_of(encoder, **options):
    return Flow(Flow.Config(**options), encoder)


class Ahead(FrameEncoder):
    """An oracle: each frame's feature is the movement to the next frame."""

    def __init__(self, batch):
        super().__init__(Encoder.Config(), InputSpec(batch.layout, 1, 150))
        self.frame_dim = 3 * len(batch.layout)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, batch):
        following = torch.minimum(torch.arange(batch.num_frames) + 1, batch.packing.start + last(batch))
        return self.scale * (batch.position[following] - batch.position).flatten(1) / UNIT


def last(batch):
    return (batch.packing.of_clips(batch.packing.lengths) - 1)[batch.packing.clip]


def test_octants_of_movements_by_hand():
    moves = torch.tensor([[1.0, 1, 1], [-1, -1, -1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1], [0, 0, 0], [0, 2, 3]])
    assert octants(moves).tolist() == [7, 0, 1, 2, 4, 0, 6]


def test_targets_end_with_their_clip():
    position = torch.zeros(5, 1, 20, 3)
    position[:3, 0, 4, 0] = torch.tensor([0.0, 1.0, 3.0])  # a hand moves along x in the first clip, of 3 frames
    position[3:, 0, 4, 1] = torch.tensor([7.0, 5.0])
    visible = torch.ones(5, 1, 20, dtype=torch.bool)
    visible[1, 0, 9] = False
    batch = Batch.pack(position, visible, [3, 2], SKELETON)
    movement, counts = flow_of(motion()).targets(batch)
    assert movement[:, 4].tolist() == [[1, 0, 0], [2, 0, 0], [0, 0, 0], [0, -2, 0], [0, 0, 0]]
    assert counts[:, 9].tolist() == [False, False, True, True, True]
    long = flow_of(motion(), min_movement=1.5).targets(batch)[1]
    assert long[:, 4].tolist() == [False, True, False, True, False]


@pytest.mark.parametrize("block", [1, 4])
def test_chosen_frames(block):
    packing = Packing([40, 1, 7, 100])
    torch.manual_seed(0)
    chosen = [choose_frames(packing, 0.15, block) for _ in range(300)]
    assert all(packing.clip[frames].bincount().tolist() == [6, 1, 1, 15] for frames in chosen)
    often = torch.stack([torch.bincount(frames, minlength=148) for frames in chosen]).sum(dim=0)[48:]
    assert (often > 15).all()  # of 45 expected: every frame of the long clip is chosen
    runs = [frames[frames >= 48].diff().eq(1).sum().item() for frames in chosen]  # consecutive frames
    assert np.mean(runs) < 4 if block == 1 else np.mean(runs) > 9


def test_corruption_is_80_10_10_and_leaves_the_rest():
    batch, flow = preprocessed([100] * 60), flow_of(motion(), mask_ratio=0.5)
    torch.manual_seed(0)
    chosen = choose_frames(batch.packing, 0.5, 1)
    corrupted = flow._corrupted(batch, chosen).position
    kept = torch.ones(batch.num_frames, dtype=torch.bool)
    kept[chosen] = False
    assert torch.equal(corrupted[kept], batch.position[kept])
    zero = (corrupted[chosen] == 0).flatten(1).all(dim=1).float().mean().item()
    same = (corrupted[chosen] == batch.position[chosen]).flatten(1).all(dim=1).float().mean().item()
    assert (zero, same) == pytest.approx((0.8, 0.1), abs=0.03)
    for frame in chosen.tolist():  # all others are frames of the same clip
        own = batch.position[batch.packing.clip == batch.packing.clip[frame]]
        assert (corrupted[frame] == 0).all() or (corrupted[frame] == own).flatten(1).all(dim=1).any()
    assert flow_of(motion(), corrupt_input=False)._corrupted(batch, chosen) is batch


def test_an_encoder_that_knows_the_next_frame_predicts_the_octant():
    batch = preprocessed([30] * 8)
    torch.manual_seed(0)
    flow = flow_of(Ahead(batch), corrupt_input=False, mask_ratio=1.0)
    optimizer = torch.optim.Adam(flow.parameters(), 3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        flow.loss(batch).backward()
        optimizer.step()
    movement, counts = flow.targets(batch)
    right = (flow.logits(batch).argmax(dim=-1) == octants(movement))[counts]
    assert right.float().mean() > 0.97


def test_shapes_of_the_head_and_the_losses():
    batch = preprocessed(num_persons=2)
    flow = flow_of(motion(2), objective="both", head_dim=4)
    assert flow.logits(batch).shape == (26, 40, 8)
    losses = flow.losses(batch)
    assert {name: len(values) for name, values in losses.items()} == {"octant": 3, "flow": 3}  # 15 % of each clip
    assert list(flow_of(motion(2), objective="pose").losses(batch)) == ["pose"]
    with pytest.raises(ValueError, match="predicts no octants"):
        flow_of(motion(2), objective="pose").logits(batch)


def test_losses_of_known_predictions():
    """Every prediction zero: ln 8 for an octant, the movement's own smooth L1 and the pose's own square."""
    batch = preprocessed([20])
    both = flow_of(motion(), objective="both", mask_ratio=1.0)
    pose = flow_of(motion(), objective="pose", mask_ratio=1.0)
    for layer in (both.octant, both.flow, pose.head.layers[-1]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    movement = (both.targets(batch)[0] / UNIT).abs()
    known = torch.where(movement < 1, movement**2 / 2, movement - 0.5).mean(dim=(1, 2))
    losses = both.losses(batch)
    torch.testing.assert_close(losses["octant"], torch.full((20,), np.log(8.0), dtype=torch.float32))
    torch.testing.assert_close(losses["flow"], known)
    torch.testing.assert_close(pose.losses(batch)["pose"], (batch.position**2).mean(dim=(1, 2, 3)))


def test_trunk_is_merged_with_each_limb():
    trunk, *limbs = torch.arange(5.0).repeat_interleave(2)[None].split(2, dim=1)
    merged = merge_parts(torch.cat([trunk, *limbs], dim=1), 2)
    assert merged[0].tolist() == [0, 0, 1, 1, 0, 0, 2, 2, 0, 0, 3, 3, 0, 0, 4, 4]
    encoder = HTransformer(HTransformer.Config(embed_dim=64, depth=8), min_max().spec)
    assert [block.attention.qkv.in_features for block in encoder.blocks] == [40, 40, *[64] * 6]
    assert [block.attention.num_heads for block in encoder.blocks] == [5, 5, 4, 4, 2, 2, 1, 1]
    assert sorted(k for part in encoder.part_nodes for k in part) == list(range(20))


def test_a_skeleton_without_limbs_is_refused():
    chain = Skeleton.from_joints("chain", ["a", "b", "c"], [-1, 0, 1])
    spec = InputSpec(NodeLayout.of(chain, "mixed"), 1, 10)
    with pytest.raises(ValueError, match=r"expected joints of the right arm, found a skeleton with parts trunk"):
        HTransformer(HTransformer.Config(embed_dim=64), spec)


@pytest.mark.parametrize("name", ["motion_transformer", "h_transformer"])
def test_separate_persons(name):
    """A person's features do not depend on other persons, and the embedding is the mean over the visible ones."""
    encoder = seeded(name, 2)
    both = preprocessed([6, 9], num_persons=2)
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
def test_pooling_of_all_blocks(name):
    """Mean and spread over the frames of every block's output, then the mean over persons."""
    encoder = seeded(name, 2, **({} if name == "h_transformer" else {"norm": "pre"}))
    batch = preprocessed([6, 9], num_persons=2)
    embedding, last = encoder.embed(batch, pooling="blocks"), encoder(batch).unflatten(1, (2, 16))
    assert embedding.shape == (2, encoder.embedding_dim("blocks"))
    widths = [10, 16, 16, 16] if name == "h_transformer" else [16] * 4
    assert encoder.embedding_dim("blocks") == 2 * sum(widths)
    mean = batch.packing.mean(last).mean(dim=1)
    torch.testing.assert_close(embedding[:, -32:-16], mean)
    spread = torch.stack([last[:6].std(dim=0, unbiased=False), last[6:].std(dim=0, unbiased=False)]).mean(dim=1)
    torch.testing.assert_close(embedding[:, -16:], spread, atol=1e-4, rtol=1e-3)


def test_position_embeddings_start_from_noise_or_from_sines():
    torch.manual_seed(0)
    assert motion().pos_embed.table.std().item() == pytest.approx(0.02, rel=0.2)
    table = motion(pos_embed_scale=0.1).pos_embed.table.detach()
    torch.testing.assert_close(table[7, :2], 0.1 * torch.tensor([np.sin(7), np.cos(7)]).float())
    with pytest.raises(ValueError, match="pos_embed_scale"):
        motion(pos_embed_scale=-1.0)


def test_persons_are_split_and_joined():
    batch = preprocessed([3, 2], num_persons=3)
    visible = batch.visible.clone()
    visible[:3, 1] = False  # the second person is not in the first clip
    visible[3, 2] = False  # the third enters the second clip late
    batch = replace(batch, visible=visible)
    persons = PersonSequences.of(batch)
    assert persons.visible_persons.tolist() == [[True, False, True], [True, True, True]]
    assert persons.batch.lengths == [3, 3, 2, 2, 2]
    joined = persons.join(persons.batch.position.flatten(1)).unflatten(1, (3, -1))
    kept = persons.visible_persons[batch.packing.clip]
    assert torch.equal(joined[kept], batch.position.flatten(2)[kept])
    assert (joined[~kept] == 0).all()
    nobody = replace(batch, visible=torch.zeros_like(visible))
    assert visible_persons(nobody).tolist() == [[True, False, False]] * 2
    assert persons.mean(torch.tensor([[1.0], [3.0], [1.0], [2.0], [6.0]])).tolist() == [[2.0], [3.0]]


def test_attention_maps_of_separate_persons_are_averaged():
    encoder = motion(2).eval()
    batch = preprocessed([6, 9], num_persons=2)
    features, maps = encoder.attention_maps(batch)
    torch.testing.assert_close(features, encoder(batch))
    assert [own.shape for own in maps[0].temporal] == [(2, 6, 6), (2, 9, 9)]
    concatenated = motion(2, persons="concatenated").eval()
    own_maps = concatenated.attention_maps(batch)[1]
    assert [own.shape for own in own_maps[0].temporal] == [(2, 6, 6), (2, 9, 9)]
    torch.testing.assert_close(maps[0].temporal[0].sum(dim=-1), torch.ones(2, 6))


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_norms(norm):
    """Either way the encoder's output is normalised; "post" also normalises each sum with a branch."""
    encoder = motion(norm=norm).eval()
    sums = []
    encoder.blocks[0].ffn.register_forward_pre_hook(lambda _, given: sums.append(given[0]))
    features = encoder(preprocessed())
    torch.testing.assert_close(sums[0].mean(dim=1), torch.zeros(26), atol=1e-5, rtol=0)
    whole = encoder.blocks[0].attention_norm if norm == "post" else encoder.blocks[0].ffn_norm
    outputs = []
    whole.register_forward_hook(lambda _, __, made: outputs.append(made))
    encoder(preprocessed())
    torch.testing.assert_close(outputs[0], sums[0])
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
    """Gradients of almost no length: Adam's epsilon dominates its divisor, and weights hardly move."""
    moved = []
    for norm in (0.0, 1e-12):
        recipe = tiny(epochs=1, clip_norm=norm, precision="bf16-mixed")
        model = model_of(recipe, dataset, tmp_path / f"model{norm}")
        start = model.recipe.build_pretext(model.preprocessor.spec).state_dict()
        moved.append(max((own - start[name]).abs().max() for name, own in model.pretext.state_dict().items()))
    assert moved[1] < moved[0] / 2


def test_no_gradient_reaches_a_frozen_encoder(dataset, tmp_path):
    small = MotionTransformer.Config(embed_dim=16, num_heads=2, depth=1)
    model = model_of(tiny(epochs=1).replace(encoder=small), dataset, tmp_path / "model")
    data = LabelledSplit.of(dataset, "half")
    for _ in Linear(epochs=2).run(model.embedder(dataset), data, seeds=[0], options=RunOptions()):
        pass
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
