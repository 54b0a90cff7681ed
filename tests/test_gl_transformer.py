"""GLTransformer: released vectors, a plain reference, packing, switches, attention maps."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import reference
import ulna
from conftest import GOLDEN, make_clip
from ulna.core import NodeLayout, get_skeleton
from ulna.data import Batch
from ulna.encoders import GLTransformer
from ulna.preprocessing import Disentangled
from ulna.nn.positions import sine_cosine
from ulna.pretext import MPDP

golden = pytest.mark.skipif(not (GOLDEN / "gl_transformer.safetensors").is_file(), reason="no reference vectors here")
SKELETON = get_skeleton("kinect_v1")


def small(num_persons=1, *, layout=None, seed=0, **options):
    torch.manual_seed(seed)
    chosen = {"width": 8, "num_heads": 4, "num_blocks": 2} | options
    encoder = GLTransformer(nodes or NodeLayout.of(SKELETON), num_persons, 30, **chosen).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder


def formed(lengths, num_persons=1, **options):
    clips = [make_clip(f"c{i}", n, num_persons=num_persons, seed=i) for i, n in enumerate(lengths)]
    return Disentangled(**options)(Batch.from_clips(clips))


@golden
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_released_vectors(dtype, tolerance):
    vectors = load_file(GOLDEN / "gl_transformer.safetensors")
    lengths, heads = vectors["in.lengths"].tolist(), int(vectors["in.heads"])
    state = {key[2:]: value.to(dtype) for key, value in vectors.items() if key.startswith("w.")}
    batch = ulna.Batch.from_padded(vectors["in.position"].to(dtype), lengths)
    encoder = ulna.encoders.GLTransformer.from_released(state, num_heads=heads)
    mpdp = ulna.pretext.MPDP.from_released(state, num_heads=heads, intervals=vectors["in.intervals"].tolist())

    def real(key):
        return torch.cat([rows[:n] for rows, n in zip(vectors[key], lengths, strict=True)])

    close = {"atol": tolerance, "rtol": 0, "check_dtype": False}
    torch.testing.assert_close(encoder(batch), real("out.features"), **close)
    torch.testing.assert_close(encoder.embed(batch), vectors["out.pooled"], **close)
    torch.testing.assert_close(mpdp.loss(batch, released=True), vectors["out.loss"][0], **close)
    for name, logits, target in zip(("direction", "magnitude"), mpdp.logits(batch), mpdp.targets(batch), strict=True):
        rows = vectors[f"out.{name}_logits"].permute(0, 2, 3, 1)
        rows = torch.cat([r[:n] for r, n in zip(rows, lengths, strict=True)]).view(logits.shape)
        torch.testing.assert_close(logits, rows, atol=max(tolerance, 1e-6), rtol=0, check_dtype=False)
        assert (target == real(f"target.{name}").view(target.shape)).all()


def released_names(encoder):
    """The state of an encoder under the authors' names."""
    ours = encoder.state_dict()
    swaps = [
        ("embed_local", "emb"), ("embed_global", "emb_global"), ("blocks.", "encoder_blocks."),
        ("positions.table", "positional_emb"), ("spatial_norm", "norm1_sp"), ("temporal_norm", "norm1_tm"),
        ("ffn_norm", "norm2"), ("spatial.", "attention_sp."), ("temporal.", "attention_tm."),
        ("ffn.0", "feedforward.fc1"), ("ffn.3", "feedforward.fc2"),
    ]  # fmt: skip
    state = {}
    for key, value in ours.items():
        for new, old in swaps:
            key = key.replace(new, old)
        state[key] = value[None] if key.endswith("positional_emb") else value
    return state


@pytest.mark.parametrize("prefix", ["", "transformer.", "module.", "module.transformer."])
def test_released_keys(prefix, tmp_path):
    encoder, batch = small(2), formed([4, 9], num_persons=2)
    state = {prefix + key: value.contiguous() for key, value in released_names(encoder).items()}
    state |= {f"{prefix}pred_token_emb": torch.zeros(1), f"{prefix}encoder_blocks.0.sp_pos_encoder.pe": torch.zeros(1)}
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pt")
    for source in (state, tmp_path / "w.safetensors", str(tmp_path / "w.pt")):
        again = GLTransformer.from_released(source, num_heads=4, skeleton="kinect_v1").eval()
        torch.testing.assert_close(again(batch), encoder(batch))


def test_released_weights_that_do_not_fit():
    state = released_names(small(2))
    with pytest.raises(ValueError, match="multiple of the 25 joints"):
        GLTransformer.from_released(state, num_heads=4)
    state.pop("mlp.3.weight")
    with pytest.raises(ValueError, match=r"1 are missing: mlp.3.weight"):
        GLTransformer.from_released(state, num_heads=4, skeleton="kinect_v1")
    with pytest.raises(ValueError, match="heads for 2 intervals"):
        MPDP.from_released(released_names(small(2)), num_heads=4, intervals=[1, 5], skeleton="kinect_v1")


@pytest.mark.parametrize("num_persons", [1, 2, 3])
def test_agrees_with_the_plain_reference(num_persons):
    lengths = [1, 12, 7, 30]
    encoder, batch = small(num_persons).double(), formed(lengths, num_persons)
    padded = torch.zeros(4, 30, 20, num_persons, 3, dtype=torch.float64)
    for i, clip in enumerate(batch.packing.split(batch.position)):
        padded[i, : len(clip)] = clip.transpose(1, 2)
    double = Batch(
        batch.position.double(),
        *(getattr(batch, n) for n in ("visible", "absent", "label", "packing", "skeleton", "nodes")),
    )
    expected = reference.features(encoder, padded, lengths)
    for i, clip in enumerate(batch.packing.split(encoder(double))):
        torch.testing.assert_close(clip, expected[i, : lengths[i]], atol=1e-10, rtol=0)


def test_packed_is_clip_by_clip():
    lengths = [3, 17, 1, 8, 8, 25]
    encoder = small(2)
    together = encoder(formed(lengths, 2))
    alone = [
        encoder(Disentangled()(Batch.from_clips([make_clip(f"c{i}", n, num_persons=2, seed=i)])))
        for i, n in enumerate(lengths)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


SWITCHES = [
    {"pos_embed": "once"}, {"pos_embed": "fixed"}, {"shared_pos_embed": True}, {"person_to_person": False},
    {"mask_absent": True}, {"ff": 1.0}, {"num_blocks": 1},
]  # fmt: skip


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_every_switch_changes_something_and_trains(switch):
    clips = [make_clip(f"c{i}", n, num_persons=2, seed=i) for i, n in enumerate([6, 9])]
    clips[1].visible[:, 1] = False
    clips[1].position[:, 1] = 0
    batch = Disentangled()(Batch.from_clips(clips))
    encoder, plain = small(2, **switch), small(2)
    assert not torch.allclose(encoder(batch), plain(batch))
    encoder.train()
    encoder(batch).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_positions_by_form():
    def tables(**switch):
        return [name for name, _ in small(**switch).named_parameters() if name.endswith("table")]

    assert len(tables()) == 2
    assert len(tables(shared_pos_embed=True)) == 1
    assert tables(pos_embed="once") == ["blocks.0.positions.table"]
    assert tables(pos_embed="fixed") == []
    batch = formed([5])
    pair = [small(pos_embed="once", shared_pos_embed=shared)(batch) for shared in (False, True)]
    torch.testing.assert_close(*pair)
    fresh = GLTransformer(NodeLayout.of(SKELETON), 1, 30, width=8, num_heads=4)
    assert (fresh.blocks[0].positions.table == 0).all()


def test_persons_apart_do_not_see_one_another():
    batch = formed([5], 2)
    other = Batch(
        batch.position.clone(),
        *(getattr(batch, n) for n in ("visible", "absent", "label", "packing", "skeleton", "nodes")),
    )
    other.position[:, 1] += 1
    for together in (True, False):
        encoder = small(2, person_to_person=together, num_blocks=1)
        maps = [encoder.attend(b)[1][0].spatial[..., 0::2, 0::2] for b in (batch, other)]
        assert torch.allclose(*maps) != together


@pytest.mark.parametrize("parts", ["local", "mixed"])
def test_without_a_global_slot(parts):
    batch = formed([5, 8], parts=parts)
    encoder = small(layout=batch.layout)
    assert encoder.embed_global is None
    assert encoder(batch).shape == (13, len(batch.layout) * 8)
    with pytest.raises(ValueError, match="apply the input form"):
        encoder(formed([5]))


def test_attention_maps_explain_the_features():
    batch, encoder = formed([5, 8], 2), small(2)
    features, maps = encoder.attend(batch)
    torch.testing.assert_close(features, encoder(batch))
    assert len(maps) == 2
    assert maps[0].spatial.shape == (13, 4, 40, 40)
    assert [m.shape for m in maps[1].temporal] == [(4, 5, 5), (4, 8, 8)]
    for block in maps:
        for weights in (block.spatial, *block.temporal):
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


def test_eval_mode_is_still_and_training_is_not():
    batch, encoder = formed([5, 8]), small()
    assert (encoder(batch) == encoder(batch)).all()
    encoder.train()
    assert (encoder(batch) != encoder(batch)).any()


def test_too_long_a_clip_is_an_error():
    with pytest.raises(ValueError, match="knows 30 frames, got a clip of 31"):
        small()(formed([31]))


def test_bfloat16_stays_close():
    batch, encoder = formed([5, 8]), small()
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder(batch)
    torch.testing.assert_close(half.float(), encoder(batch), atol=0.3, rtol=0.1)


def test_readout_from_every_block():
    encoder = small(pooling="blocks").eval()
    batch = formed([6, 1])
    embedding = encoder.embed(batch)
    assert embedding.shape == (2, encoder.embedding_width)
    width = encoder.frame_width
    mean, spread = embedding[:, -2 * width : -width], embedding[:, -width:]
    features = encoder(batch)
    torch.testing.assert_close(mean[0], features[:6].mean(dim=0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(spread[0], features[:6].std(dim=0, unbiased=False), atol=2e-3, rtol=1e-3)
    encoder.train().embed(batch).sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None), "also of a single frame"
    plain = small().eval()
    plain.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(plain.embed(batch), mean, atol=1e-5, rtol=1e-5)


def test_stages_are_the_whole_encoder():
    encoder = small()
    own = [p for stage in encoder.layer_groups() for module in stage for p in module.parameters()]
    assert len(own) == len({id(p) for p in own}) == len(list(encoder.parameters()))


def test_trained_positions_can_begin_with_sines():
    nodes = NodeLayout.of(SKELETON)
    flat = GLTransformer(layout, 1, 30, width=8, num_heads=4)
    begun = GLTransformer(layout, 1, 30, width=8, num_heads=4, pos_embed_scale=0.3)
    assert not any(table.any() for table in flat.positions())
    for table in begun.positions():
        torch.testing.assert_close(table.detach().flatten(1), 0.3 * sine_cosine(30, 160))
        assert table.requires_grad
