"""Streams joint, bone and motion, and their late fusion."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import encoder_of, make_clip, model_of, tiny
from ulna.batch import Batch
from ulna.cli.evaluate import main as cli_evaluate
from ulna.core import InputError, get_skeleton
from ulna.encoders import ENCODERS
from ulna.evaluation import EvalResult, LabelledSplit, evaluate, fuse
from ulna.evaluation.fusion import choose_weights
from ulna.evaluation.protocols import Linear
from ulna.evaluation.table import read_rows, rows_of
from ulna.nn.streams import bones, motion, streams_of
from ulna.preprocessing import Disentangled

KINECT = get_skeleton("kinect_v1")


def batch_of(parts="local+global", num_persons=1):
    form = Disentangled(Disentangled.Config(max_frames=12, parts=parts), KINECT, num_persons)
    clips = [make_clip(f"c{n}", n, seed=n, num_persons=num_persons) for n in (5, 3)]
    return form, form(Batch.from_clips(clips))


@pytest.mark.parametrize("parts", ["local+global", "local", "mixed"])
def test_bones_lead_away_from_the_centre(parts):
    _, batch = batch_of(parts)
    found, names = bones(batch), list(batch.layout.names)
    position = {name: batch.position[:, 0, k] for k, name in enumerate(names)}
    for joint, nearer in KINECT.outwards:
        one, two = KINECT.joints[joint], KINECT.joints[nearer]
        if one not in names:
            continue
        base = position[two] if two in names and names.index(two) != batch.layout.root else 0
        torch.testing.assert_close(found[:, 0, names.index(one)], position[one] - base)
    if "spine" in names:
        assert (found[:, 0, names.index("spine")] == position["spine"]).all(), "the centre, or the translation, stays"


def test_motion_is_the_displacement_to_the_next_frame():
    _, batch = batch_of()
    visible = batch.visible.clone()
    visible[2, 0, 4] = False
    found = motion(replace(batch, visible=visible))
    torch.testing.assert_close(found[0], batch.position[1] - batch.position[0])
    assert (found[4] == 0).all()
    assert (found[7] == 0).all()
    assert (found[1:3, 0, 4] == 0).all()
    assert (found[3, 0, 4] != 0).any()


def test_streams_are_concatenated():
    _, batch = batch_of()
    both = streams_of(batch, ("motion", "joint"))
    assert torch.equal(both, torch.cat([motion(batch), batch.position], dim=-1))
    assert streams_of(batch, ("joint",)) is batch.position


@pytest.mark.parametrize("stream", ["joint", "bone", "motion"])
def test_masked_nodes_leave_no_trace(stream):
    """Moving a masked node changes no channel, and its own channels are zero."""
    _, batch = batch_of()
    masked = torch.zeros_like(batch.visible)
    masked[2, 0, KINECT.index("left_elbow")] = True
    moved = batch.position.clone()
    moved[2, 0, KINECT.index("left_elbow")] += 5
    one, two = (streams_of(replace(batch, position=p, masked=masked), (stream,)) for p in (batch.position, moved))
    assert torch.equal(one, two)
    assert (one[masked] == 0).all()
    assert not torch.equal(streams_of(replace(batch, position=moved), (stream,)), one)


@pytest.mark.parametrize("name", ["gl_transformer", "segment_transformer", "compact_transformer"])
def test_token_features_do_not_see_masked_nodes_in_any_stream(name):
    form, batch = batch_of(num_persons=2)
    encoder = encoder_of(name, form, streams=("joint", "bone", "motion")).eval()
    masked = torch.zeros_like(batch.visible)
    masked[:, :, 5] = True
    moved = replace(batch, position=batch.position + 3 * masked[..., None])
    one, two = (encoder.token_features(own, masked) for own in (batch, moved))
    torch.testing.assert_close(one.values, two.values)


@pytest.mark.parametrize("streams", [("bone",), ("joint", "bone", "motion")])
@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_take_streams(name, streams):
    form, batch = batch_of(num_persons=2)
    encoder = encoder_of(name, form, streams=streams).eval()
    embedded = encoder.embed(batch)
    assert embedded.isfinite().all()
    plain = encoder_of(name, form).eval()
    assert not torch.allclose(embedded, plain.embed(batch))


@pytest.fixture(scope="module")
def models(dataset, tmp_path_factory):
    """Two streams with two seeds each."""
    folder = tmp_path_factory.mktemp("streams")
    made = []
    for stream in ("joint", "motion"):
        for seed in (0, 1):
            recipe = tiny(epochs=1)
            recipe = recipe.replace(encoder=recipe.encoder.replace(streams=(stream,))).with_seed(seed)
            made.append(model_of(recipe, dataset, folder / f"{stream}{seed}"))
    return made


def test_a_stream_with_the_whole_weight_decides_alone(models, dataset):
    protocol = Linear(epochs=20)
    for number, own in enumerate((models[:2], models[2:])):
        weights = [0.0, 0.0]
        weights[number] = 3.0
        fused = fuse(models, dataset, protocol, split="half", weights=weights)
        assert [seed.seed for seed in fused.seeds] == [0, 1]
        for seed, model in zip(fused.seeds, own, strict=True):
            alone = evaluate(model, dataset, protocol, split="half", seeds=1, baselines=False).result
            assert seed.predictions == alone.seeds[0].predictions
    one = fuse(models, dataset, protocol, split="half", weights=[0.6, 0.4])
    two = fuse(models, dataset, protocol, split="half", weights=[6.0, 4.0])
    assert [seed.predictions for seed in one.seeds] == [seed.predictions for seed in two.seeds]
    assert one.key.options["weights"] == [0.6, 0.4]
    assert one.key.options["fusion"] == ["tiny (joint)", "tiny (motion)"]


def test_weights_are_chosen_by_the_development_split(dataset):
    data = LabelledSplit.of(dataset, "half")
    truth = torch.nn.functional.one_hot(torch.from_numpy(data.test_labels), len(dataset.classes)).float()
    wrong = truth.roll(1, dims=1)
    assert choose_weights([torch.stack([truth, wrong])], data).tolist() == [0.6, 0.4], "the most even of the best"
    even = torch.full_like(truth, 0.5)
    assert choose_weights([torch.stack([truth, even])], data).tolist() == [0.5, 0.5]
    assert np.isclose(choose_weights([torch.stack([truth, truth, wrong])], data).sum(), 1)


def test_fusion_with_another_pooling(models, dataset):
    protocol = Linear(epochs=5)
    own = [
        evaluate(one, dataset, protocol, split="half", seeds=1, pooling="blocks+poses", baselines=False).result
        for one in models[:2]
    ]
    fused = fuse(models, dataset, protocol, split="half", weights=[1.0, 0.0], pooling="blocks+poses")
    assert [seed.predictions for seed in fused.seeds] == [one.seeds[0].predictions for one in own]
    assert fused.key.pooling == "blocks+poses"
    with pytest.raises(InputError, match="pooling of GLTransformer: expected one of 'mean', 'blocks', found 'joints'"):
        fuse(models, dataset, protocol, split="half", pooling="joints")


def test_models_that_cannot_be_fused(models, dataset):
    with pytest.raises(InputError, match="expected models of at least two recipes to fuse, found 1"):
        fuse(models[:2], dataset, split="half")
    with pytest.raises(InputError, match=r"seed 1: expected one model of each of 2 recipes, found joint1"):
        fuse(models[:3], dataset, split="half")
    with pytest.raises(InputError, match="weights: expected 2 numbers of at least 0"):
        fuse(models, dataset, split="half", weights=[1.0])
    with pytest.raises(InputError, match="expected weights or choose_on, found both"):
        fuse(models, dataset, split="half", weights=[1.0, 1.0], choose_on="half")
    with pytest.raises(InputError, match="choose_on 'half': expected no test clips of split 'half', found some"):
        fuse(models, dataset, split="half", choose_on="half")


def test_the_command_fuses_and_writes_a_row(models, dataset, tmp_path, capsys):
    folders = [str(model.path) for model in models]
    options = ["--data", str(dataset.path), "--split", "half", "--fuse", "--weights", "0.6", "0.4", "--epochs", "5"]
    cli_evaluate([*folders, *options, "--table", str(tmp_path / "t.csv"), "--out", str(tmp_path / "fused.json")])
    assert "linear fused" in capsys.readouterr().out
    rows = read_rows(tmp_path / "t.csv")
    assert [row.seed for row in rows] == [0, 1]
    assert "fusion=tiny (joint),tiny (motion)" in rows[0].options
    assert "weights=0.6,0.4" in rows[0].options
    assert EvalResult.open(tmp_path / "fused.json").key.variant == "fused"
    with pytest.raises(InputError, match="--fuse: expected the protocol linear, found knn"):
        cli_evaluate([*folders, "--data", str(dataset.path), "--fuse", "--protocol", "knn"])


def test_clips_that_are_too_short_are_left_out(models, dataset):
    whole, part = (
        evaluate(models[0], dataset, Linear(epochs=5), split="half", seeds=1, min_frames=least) for least in (0, 12)
    )
    lengths = dict(zip(dataset.ids, dataset.lengths.tolist(), strict=True))
    assert [clip for clip in whole.result.clips if lengths[clip] >= 12] == part.result.clips
    assert len(part.result.clips) < len(whole.result.clips)
    assert part.raw_joints.clips == part.result.clips
    assert part.result.key.min_frames == 12
    assert part.result.key.file_name(default_pooling="mean") == "linear-from12frames-half"
    assert rows_of(part.result)[0].options == "epochs=5 min_frames=12"
    with pytest.raises(InputError, match="expected labelled clips in both parts"):
        evaluate(models[0], dataset, split="half", min_frames=1000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fuse", "--min-frames", "5", "--seeds", "2"], "--seeds, --min-frames: not used with --fuse"),
        (["--weights", "0.5", "0.5"], "--weights: not used without --fuse"),
    ],
)
def test_options_that_would_not_be_read_are_refused(options, message, models, dataset):
    folders = [str(model.path) for model in models]
    with pytest.raises(InputError, match=message):
        cli_evaluate([*folders, "--data", str(dataset.path), *options])
