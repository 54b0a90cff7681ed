"""GLTransformer: released vectors, a plain reference, packing, switches, attention maps."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import reference
import ulna
from conftest import GOLDEN, make_clip
from gl_transformer_helpers import MAX_FRAMES, SKELETON, disentangled, preprocessed, small
from ulna.batch import Batch
from ulna.core import NodeLayout
from ulna.encoders import GLTransformer
from ulna.nn.pos_embed import sine_cosine
from ulna.preprocessing import InputSpec
from ulna.pretext import MPDP

golden = pytest.mark.skipif(not (GOLDEN / "gl_transformer.safetensors").is_file(), reason="no reference vectors here")


def any_preprocessor(num_persons=1, parts="local+global"):
    """A spec for batches of this layout, whatever preprocessor made them."""
    return InputSpec(NodeLayout.of(SKELETON, parts), num_persons, MAX_FRAMES)


def fresh(**options):
    """An encoder as it is initialised."""
    config = GLTransformer.Config(embed_dim=8, num_heads=4, **options)
    return GLTransformer(config, any_preprocessor())


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
        ("pos_embed.table", "positional_emb"), ("spatial_norm", "norm1_sp"), ("temporal_norm", "norm1_tm"),
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
    encoder, batch = small(2), preprocessed([4, 9], num_persons=2)
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
    encoder, batch = small(num_persons).double(), preprocessed(lengths, num_persons)
    padded = torch.zeros(4, 30, 20, num_persons, 3, dtype=torch.float64)
    for i, clip in enumerate(batch.packing.split(batch.position)):
        padded[i, : len(clip)] = clip.transpose(1, 2)
    double = replace(batch, position=batch.position.double())
    expected = reference.features(encoder, padded, lengths)
    for i, clip in enumerate(batch.packing.split(encoder(double))):
        torch.testing.assert_close(clip, expected[i, : lengths[i]], atol=1e-10, rtol=0)


def with_persons(lengths, persons, num_persons):
    """A preprocessed batch in which only some persons of each clip are visible."""
    clips = [make_clip(f"c{i}", n, num_persons=num_persons, seed=i) for i, n in enumerate(lengths)]
    for clip, kept in zip(clips, persons, strict=True):
        absent = [person for person in range(num_persons) if person not in kept]
        clip.visible[:, absent], clip.position[:, absent] = False, 0
    return disentangled(num_persons)(Batch.from_clips(clips))


PERSONS = [([(0, 1), (0,), (0, 1), (1,), (0,)], 2), ([(0, 2), (0,), (0, 1, 2), (1,), (0, 2)], 3)]


@pytest.mark.parametrize(("persons", "num_persons"), PERSONS, ids=["two", "three"])
@pytest.mark.parametrize("heads", [4, 5])
def test_skipping_absent_persons_is_masking_them_in_every_layer(persons, num_persons, heads):
    lengths = [3, 17, 6, 8, 12]
    encoder = small(num_persons, absent="skip", num_heads=heads, embed_dim=10 * (2 if heads == 4 else 1)).double()
    batch = with_persons(lengths, persons, num_persons)
    double = replace(batch, position=batch.position.double())
    features = encoder(double)
    for clip, position, own in zip(
        batch.packing.split(features), batch.packing.split(double.position), persons, strict=True
    ):
        expected = reference.masked_features(encoder, position.transpose(1, 2), own)
        torch.testing.assert_close(clip, expected, atol=1e-10, rtol=0)
    for pooling, width in (("mean", encoder.frame_dim), ("blocks", encoder.embedding_dim("blocks"))):
        embedding = encoder.embed(double, pooling)
        assert embedding.shape == (5, width)
        node = embedding.unflatten(1, (-1, num_persons, encoder.config.embed_dim))
        is_zero = (node == 0).all(dim=(1, 3))
        assert [tuple(p for p in range(num_persons) if not row[p]) for row in is_zero] == persons
    torch.testing.assert_close(encoder.embed(double)[1], features[3:20].mean(dim=0))


@pytest.mark.parametrize(("persons", "num_persons"), PERSONS, ids=["two", "three"])
def test_losses_of_skipped_persons(persons, num_persons):
    lengths = [3, 17, 6, 8, 12]
    encoder = small(num_persons, absent="skip").double()
    batch = with_persons(lengths, persons, num_persons)
    double = replace(batch, position=batch.position.double())
    mpdp = MPDP(MPDP.Config(), encoder).double()
    losses, logits, targets = mpdp.losses(double), mpdp.logits(double), mpdp.targets(double)
    root, num_nodes = encoder.spec.layout.root, len(encoder.spec.layout)
    for name, scores, classes in zip(("direction", "magnitude"), logits, targets, strict=True):
        entropy = torch.nn.functional.cross_entropy(scores.movedim(-1, 1), classes, reduction="none")  # (F, N, S)
        entropy = entropy.unflatten(2, (num_nodes, num_persons)).mean(dim=1)
        local = entropy[:, [k for k in range(num_nodes) if k != root]].mean(dim=1) + 0.05 * entropy[:, root]
        for clip, own, kept in zip(batch.packing.split(local), batch.packing.split(losses[name]), persons, strict=True):
            if 0 in kept:  # otherwise the first visible person takes the part of the first one
                torch.testing.assert_close(own, clip[:, list(kept)].mean(dim=1))
    sum(values.mean() for values in losses.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in mpdp.parameters())


def test_clips_with_everybody_are_computed_as_before():
    batch = preprocessed([5, 8], 2)
    features = [small(2, absent=absent)(batch) for absent in ("skip", "compute")]
    assert torch.equal(*features)


def test_attention_maps_of_skipped_persons():
    batch, encoder = with_persons([5, 8, 4], [(0, 1), (1,), (0,)], 2), small(2, absent="skip")
    features, maps = encoder.attention_maps(batch)
    torch.testing.assert_close(features, encoder(batch))
    assert [m.shape for m in maps[1].temporal] == [(4, 5, 5), (4, 8, 8), (4, 4, 4)]
    spatial = maps[0].spatial
    assert spatial.shape == (17, 4, 40, 40)
    assert (spatial[5:13, :, :, 0::2] == 0).all()
    torch.testing.assert_close(spatial[5:13, :, 1::2].sum(-1), torch.ones(8, 4, 20))


def test_hidden_units_must_divide_among_persons():
    with pytest.raises(ValueError, match="a multiple of 2 persons"):
        small(2, absent="skip", mlp_ratio=1.01)


def test_packed_is_clip_by_clip():
    lengths = [3, 17, 1, 8, 8, 25]
    encoder = small(2)
    together = encoder(preprocessed(lengths, 2))
    alone = [
        encoder(disentangled(2)(Batch.from_clips([make_clip(f"c{i}", n, num_persons=2, seed=i)])))
        for i, n in enumerate(lengths)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


SWITCHES = [
    {"pos_embed": "once"}, {"pos_embed": "fixed"}, {"shared_pos_embed": True}, {"person_to_person": False},
    {"mask_absent": True}, {"mlp_ratio": 1.0}, {"depth": 1}, {"absent": "skip"}, {"window": 2, "stride": 3},
    {"missing_token": True},
]  # fmt: skip


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_every_switch_changes_something_and_trains(switch):
    clips = [make_clip(f"c{i}", n, num_persons=2, seed=i) for i, n in enumerate([6, 9])]
    clips[1].visible[:, 1] = False
    clips[1].position[:, 1] = 0
    batch = disentangled(2)(Batch.from_clips(clips))
    encoder, plain = small(2, **switch), small(2)
    assert not torch.allclose(encoder(batch), plain(batch))
    encoder.train()
    encoder(batch).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_a_missing_joint_is_not_a_joint_at_zero():
    batch = preprocessed([6])
    position, visible = batch.position.clone(), batch.visible.clone()
    position[:, :, 3], visible[:, :, 3] = 0, False
    missing = replace(batch, position=position, visible=visible)
    at_zero = replace(batch, position=position)
    for token in (False, True):
        encoder = small(missing_token=token)
        assert torch.allclose(encoder(missing), encoder(at_zero)) != token
    masked = replace(batch, masked=~visible)
    torch.testing.assert_close(encoder(masked), encoder(missing))
    modules = [module for group in encoder.layer_groups() for layer in group for module in layer.modules()]
    assert encoder.missing in modules, "fine-tuning finds it"


def test_position_embeddings_by_option():
    def tables(**switch):
        return [name for name, _ in small(**switch).named_parameters() if name.endswith("table")]

    assert len(tables()) == 2
    assert len(tables(shared_pos_embed=True)) == 1
    assert tables(pos_embed="once") == ["blocks.0.pos_embed.table"]
    assert tables(pos_embed="fixed") == []
    batch = preprocessed([5])
    pair = [small(pos_embed="once", shared_pos_embed=shared)(batch) for shared in (False, True)]
    torch.testing.assert_close(*pair)
    assert (fresh().blocks[0].pos_embed.table == 0).all()


def test_persons_do_not_attend_to_one_another_if_switched_off():
    batch = preprocessed([5], 2)
    other = replace(batch, position=batch.position.clone())
    other.position[:, 1] += 1
    for together in (True, False):
        encoder = small(2, person_to_person=together, depth=1)
        maps = [encoder.attention_maps(b)[1][0].spatial[..., 0::2, 0::2] for b in (batch, other)]
        assert torch.allclose(*maps) != together


@pytest.mark.parametrize("parts", ["local", "mixed"])
def test_without_a_root(parts):
    batch = preprocessed([5, 8], parts=parts)
    encoder = small(spec=disentangled(parts=parts).spec)
    assert encoder.embed_global is None
    assert encoder(batch).shape == (13, len(batch.layout) * 8)
    with pytest.raises(ValueError, match="Apply the preprocessor the encoder was trained with"):
        encoder(preprocessed([5]))
    nodes = f"expected 1 persons with {len(batch.layout)} nodes .without a root., found 1 persons with 20 .with a root."
    with pytest.raises(ValueError, match=f"{nodes}. Apply the preprocessor the encoder was trained with"):
        small(spec=any_preprocessor(parts=parts))(preprocessed([5]))


def test_attention_maps_explain_the_features():
    batch, encoder = preprocessed([5, 8], 2), small(2)
    features, maps = encoder.attention_maps(batch)
    torch.testing.assert_close(features, encoder(batch))
    assert len(maps) == 2
    assert maps[0].spatial.shape == (13, 4, 40, 40)
    assert [m.shape for m in maps[1].temporal] == [(4, 5, 5), (4, 8, 8)]
    for block in maps:
        for weights in (block.spatial, *block.temporal):
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


def test_eval_mode_repeats_and_training_does_not():
    batch, encoder = preprocessed([5, 8]), small()
    assert (encoder(batch) == encoder(batch)).all()
    encoder.train()
    assert (encoder(batch) != encoder(batch)).any()


def test_too_long_a_clip_is_an_error():
    with pytest.raises(ValueError, match="expected clips of at most 30 frames, found one of 31"):
        small(spec=any_preprocessor())(preprocessed([31], max_frames=31))


def test_bfloat16_stays_close():
    batch, encoder = preprocessed([5, 8]), small()
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder(batch)
    torch.testing.assert_close(half.float(), encoder(batch), atol=0.3, rtol=0.1)


def test_pooling_of_every_block():
    encoder = small()
    batch = preprocessed([6, 1])
    embedding = encoder.embed(batch, pooling="blocks")
    assert embedding.shape == (2, encoder.embedding_dim("blocks"))
    width = encoder.frame_dim
    mean, spread = embedding[:, -2 * width : -width], embedding[:, -width:]
    features = encoder(batch)
    torch.testing.assert_close(mean[0], features[:6].mean(dim=0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(spread[0], features[:6].std(dim=0, unbiased=False), atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(encoder.embed(batch), mean, atol=1e-5, rtol=1e-5)
    encoder.train().embed(batch, pooling="blocks").sum().backward()
    grads = [p.grad for p in encoder.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in grads), "gradients are finite for a clip of one frame as well"


def test_layer_groups_are_the_whole_encoder():
    encoder = small()
    own = [p for group in encoder.layer_groups() for module in group for p in module.parameters()]
    assert len(own) == len({id(p) for p in own}) == len(list(encoder.parameters()))


def test_learned_position_embeddings_can_start_from_sines():
    assert not any(table.any() for table in fresh().pos_embeds())
    tables = fresh(pos_embed_scale=0.3).pos_embeds()
    assert len(tables) == 4
    for table in tables:
        torch.testing.assert_close(table.detach().flatten(1), 0.3 * sine_cosine(30, 160))
        assert table.requires_grad
