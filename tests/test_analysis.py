"""Attention, robustness, the report, tables of results."""

import base64
import dataclasses
import importlib
import json
import re

import numpy as np
import pytest
import torch

from conftest import CLASSES, make_clip, model_of, tiny
from ulna.analysis import write_attention, write_report, write_robustness
from ulna.analysis.attention import attention
from ulna.analysis.robustness import (
    CORRUPTIONS,
    Corruption,
    _by_recipe,
    frame_dropout,
    frame_rate,
    joint_dropout,
    noise,
    pitch,
    robustness,
    viewpoint,
)
from ulna.batch import Batch
from ulna.core import InputError, MissingError, NodeLayout, get_skeleton
from ulna.dataset import Dataset
from ulna.encoders import Encoder, HTransformer
from ulna.evaluation import EvalResult, ResultKey, SeedResult, evaluate, pool_folds
from ulna.evaluation.protocols import Linear
from ulna.evaluation.table import append_results, cell, markdown, mean_and_sd, read_rows, rows_of
from ulna.models import load
from ulna.models.classifier import FOLDER
from ulna.preprocessing import Disentangled, InputSpec

KINECT_V1 = get_skeleton("kinect_v1")
robustness_module = importlib.import_module("ulna.analysis.robustness")


def generators(num, seed=0):
    """One random generator per clip."""
    return [np.random.default_rng([seed, clip]) for clip in range(num)]


def data_of(page):
    """The content of a page."""
    return json.loads(re.search(r"const DATA = (.*);\n", page)[1])


@pytest.fixture(scope="module")
def evaluated(dataset, tmp_path_factory):
    """A model with a saved linear classifier and results."""
    model = model_of(tiny(epochs=2), dataset, tmp_path_factory.mktemp("models") / "evaluated")
    evaluate(model, dataset, Linear(epochs=30), split="half", seeds=1, save=True)
    return model


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A model and clips of two persons, some with only one."""
    clips = [
        make_clip(f"c{i}", 6 + i, num_persons=2, label=CLASSES[i % 2], seed=i, splits={"half": "train"})
        for i in range(4)
    ]
    clips += [
        make_clip(f"t{i}", 40 * i + 3, num_persons=2, label=CLASSES[i], seed=i, splits={"half": "test"})
        for i in range(2)
    ]
    clips[-1].visible[:, 1] = False
    folder = tmp_path_factory.mktemp("pairs")
    dataset = Dataset.write(folder / "dataset", clips, classes=CLASSES)
    return model_of(tiny(epochs=1), dataset, folder / "model"), dataset


def test_attention_averages_what_the_encoder_gives(evaluated, dataset, tmp_path):
    found = attention(evaluated, dataset, split="half", num_clips=7)
    skeleton = evaluated.config.skeleton
    assert found.num_clips == 7
    assert found.spatial.shape == (1, 2, 20, 20)
    assert found.temporal.shape == (1, 2, 30, 30)
    np.testing.assert_allclose(found.spatial.sum(axis=-1), 1, atol=1e-5)
    assert found.names[0] == "(root)"
    assert sorted(found.names[1:]) == sorted(j.replace("_", " ") for j in skeleton.joints if j != "spine")
    only = dataset.clip(int(dataset.split("half")[1][0]))
    _, maps = evaluated.encoder.attention_maps(evaluated.preprocessor(Batch.from_clips([only], max_frames=16)))
    single = Dataset.write(tmp_path / "single", [only], classes=dataset.classes)
    one = attention(evaluated, single, num_clips=1)
    centre = skeleton.index("spine")
    own = maps[0].spatial.mean(dim=0)[0].detach()
    assert one.spatial[0, 0, 0, 0] == pytest.approx(float(own[centre, centre]), abs=1e-5), "the root is first"
    length = only.num_frames
    time = np.arange(length)
    by_hand = (maps[0].temporal[0][1].detach().numpy() * np.abs(time[:, None] - time)).sum(axis=1).mean()
    assert one.distance[0, 1] == pytest.approx(by_hand, abs=1e-4)
    assert one.pos_embeds[0].shape == (16, 16)


def test_attention_of_two_persons_is_person_by_person(pairs):
    model, dataset = pairs
    found = attention(model, dataset, split="half")
    assert found.names == found.names[:20] * 2
    written = write_attention([model], dataset, split="half")
    assert [path.name for path in written] == [
        "attention_spatial.png", "attention_temporal.png", "attention_distance.png", "attention_positions.png",
        "attention.html",
    ]  # fmt: skip
    page = written[-1].read_text()
    assert "https://" not in page
    content = data_of(page)
    assert len(content["clips"][0]["persons"]) in (1, 2)
    assert content["shape"] == [1, 2]


def test_attention_over_time_alone(dataset, tmp_path):
    """H-Transformer has no maps among joints; its first block has five heads, later ones fewer."""
    recipe = tiny(epochs=1).replace(encoder=HTransformer.Config(embed_dim=16))
    model = model_of(recipe, dataset, tmp_path / "model")
    found = attention(model, dataset, split="half", num_clips=3)
    assert found.spatial is None
    assert np.isfinite(found.distance).sum(axis=1).tolist() == [5, 4, 2, 1]
    assert np.isnan(found.temporal[:, :, 0, 0]).sum(axis=1).tolist() == [0, 1, 3, 4]
    written = write_attention([model], dataset, split="half", num_clips=3)
    assert "attention_spatial.png" not in [path.name for path in written]
    content = data_of(written[-1].read_text())
    assert content["clips"][0]["spatial"] is None
    assert content["distance"][3][1:] == [None] * 4


def test_encoders_without_attention_are_refused():
    class Plain(Encoder):
        def embedding_dim(self, pooling="mean"):
            return 1

        def embed(self, batch, pooling="mean"):
            return torch.zeros(batch.num_clips, 1)

    plain = Plain(Encoder.Config(), InputSpec(NodeLayout.of(KINECT_V1), 1, 2))
    with pytest.raises(InputError, match="Plain has no attention maps"):
        plain.attention_maps(Batch.from_clips([make_clip("a", 2)]))
    assert plain.pos_embeds() == []


def test_corruptions_by_hand():
    batch = Batch.from_clips([make_clip("a", 8), make_clip("b", 5, seed=1)])
    for name, corruption in CORRUPTIONS.items():
        changed = corruption.apply(batch, corruption.levels[0], generators(2))
        torch.testing.assert_close(changed.position, batch.position, msg=name)
        assert torch.equal(changed.visible, batch.visible), name
    half = frame_rate(batch, 0.5, generators(2))
    assert half.lengths == [4, 2]
    np.testing.assert_allclose(half.fps, np.array([30, 30]))  # as the file states
    half = frame_dropout(batch, 50.0, generators(2))
    assert half.lengths == [8, 5]
    assert half.visible[[0, 8]].all(), "first frames stay"
    assert not half.visible.all()
    assert not half.position[~half.visible].any()
    noisy = noise(batch, 3.0, generators(2))
    assert (noisy.position - batch.position).std() == pytest.approx(0.03, abs=0.003)
    rotated = viewpoint(batch, 90.0, generators(2))
    torch.testing.assert_close(rotated.position[..., 1], batch.position[..., 1])
    torch.testing.assert_close(rotated.position.norm(dim=-1), batch.position.norm(dim=-1))
    assert (rotated.position[..., 0].abs() - batch.position[..., 2].abs()).abs().max() < 1e-5
    pitched = pitch(batch, 90.0, generators(2))
    torch.testing.assert_close(pitched.position[..., 0], batch.position[..., 0])
    assert (pitched.position[..., 1].abs() - batch.position[..., 2].abs()).abs().max() < 1e-5
    fewer = joint_dropout(batch, 40.0, generators(2))
    assert torch.equal(fewer.visible[:8], fewer.visible[:1].expand(8, -1, -1)), "for the whole clip"
    assert not fewer.visible.all()
    assert not fewer.position[~fewer.visible].any()


@pytest.mark.parametrize("name", [name for name, corruption in CORRUPTIONS.items() if corruption.is_random])
def test_random_corruptions_take_each_clip_by_itself(name):
    clips = [make_clip("a", 8), make_clip("b", 5, seed=1)]
    corruption = CORRUPTIONS[name]
    together = corruption.apply(Batch.from_clips(clips), corruption.levels[-1], generators(2))
    alone = [
        corruption.apply(Batch.from_clips([clip]), corruption.levels[-1], [generator])
        for clip, generator in zip(clips, generators(2), strict=True)
    ]
    for part in ("position", "visible"):
        assert torch.equal(getattr(together, part), torch.cat([getattr(one, part) for one in alone]))


def test_clips_are_cut_after_they_are_corrupted(evaluated, dataset, monkeypatch):
    preprocessor = Disentangled(Disentangled.Config(max_frames=6), KINECT_V1, 1)
    raw = frame_rate(Batch.from_clips([make_clip("a", 20)]), 0.5, generators(1))
    assert preprocessor(raw).lengths == [6]

    read, embedded = [], []
    encoder = type(evaluated.encoder)
    embed = encoder.embed

    def recorded_frame_rate(batch, factor, generators):
        read.extend(batch.lengths)
        return frame_rate(batch, factor, generators)

    def recorded_embed(self, batch, pooling="mean"):
        embedded.append(batch.lengths)
        return embed(self, batch, pooling)

    corruptions = {
        "noise": dataclasses.replace(CORRUPTIONS["noise"], levels=(0.0,)),
        "frame_rate": Corruption("frame rate", "x", (1.0, 0.5), recorded_frame_rate),
    }
    monkeypatch.setattr(robustness_module, "CORRUPTIONS", corruptions)
    monkeypatch.setattr(encoder, "embed", recorded_embed)
    robustness(evaluated, dataset, split="half")
    lengths = dataset.lengths[dataset.split("half")[1]]
    assert lengths.max() > 16
    assert sorted(read) == sorted(lengths.tolist()), "whole clips are corrupted"
    plain, slow = embedded
    assert sorted(plain) == sorted(np.minimum(lengths, 16).tolist())
    assert sorted(slow) == sorted(np.minimum(np.rint(lengths * 0.5), 16).astype(int).tolist())


def test_robustness_does_not_depend_on_batches(evaluated, dataset, monkeypatch):
    """The same accuracies, draw by draw, if every clip is a batch of its own and if all clips are one batch."""
    corruptions = {name: corruption for name, corruption in CORRUPTIONS.items() if corruption.is_random}
    assert list(corruptions) == ["noise", "joint_dropout", "frame_dropout"]
    monkeypatch.setattr(robustness_module, "CORRUPTIONS", corruptions)
    num_batches, embed = [], type(evaluated.encoder).embed

    def counted(self, batch, pooling="mean"):
        num_batches[-1] += 1
        return embed(self, batch, pooling)

    monkeypatch.setattr(type(evaluated.encoder), "embed", counted)
    found = []
    for frames in (1, 1_000_000):
        monkeypatch.setattr("ulna.models.embedding.FRAMES_PER_BATCH", {"cpu": frames})
        num_batches.append(0)
        found.append(robustness(evaluated, dataset, split="half", seeds=2))
    assert num_batches[0] == 20 * num_batches[1] == 20 * (1 + 3 * 4 * 2)
    assert found[0] == found[1]
    for draws in found[0].values():
        assert any(len(set(accuracies)) > 1 for accuracies in draws.values()), "draws differ"


def test_robustness_is_drawn_and_saved(evaluated, dataset):
    path = write_robustness([evaluated], dataset, split="half", seeds=2)
    assert path == evaluated.path / "figures" / "robustness.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    saved = json.loads((evaluated.path / "results" / "robustness" / "linear-half.json").read_text())
    plain = EvalResult.open(evaluated.path / "results" / "linear-half.json").accuracy
    assert list(saved["accuracy"]) == list(CORRUPTIONS)
    for name, levels in saved["accuracy"].items():
        first = f"{CORRUPTIONS[name].levels[0]:g}"
        assert levels[first] == [pytest.approx(plain)]
        assert len(levels) == len(CORRUPTIONS[name].levels)
    assert len(saved["accuracy"]["noise"]["8"]) == 2
    assert saved["accuracy"]["viewpoint"]["180"] == [pytest.approx(plain)], "aligned headings undo a rotation"
    report = write_report([evaluated], evaluated.path / "report.html", dataset=dataset).read_text()
    (figure,) = [one for one in data_of(report)["figures"] if one["title"] == "Robustness"]
    assert base64.b64decode(figure["image"]) == path.read_bytes()


def test_classifiers_that_do_not_fit_are_refused(evaluated, dataset):
    with pytest.raises(MissingError, match="expected classifier 'finetune', found classifiers: linear"):
        robustness(evaluated, dataset, split="half", classifier="finetune")
    own = evaluated.classifier("linear")
    dataclasses.replace(own, config=own.config.replace(fingerprint="another")).save(evaluated.path / FOLDER, "linear")
    with pytest.raises(InputError, match=r"found one trained on 'half' of data another\. Evaluate the model first"):
        robustness(load(evaluated.path, device="cpu"), dataset, split="half")
    own.save(evaluated.path / FOLDER, "linear")
    assert robustness(load(evaluated.path, device="cpu"), dataset, split="half", seeds=1)


def test_robustness_of_several_recipes_is_one_figure(evaluated, dataset, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, *_, **__: drawn.append(figure))
    others = [
        model_of(tiny(epochs=1, seed=seed).replace(name=name), dataset, tmp_path / f"{name}{seed}")
        for name, seed in (("another", 0), ("another", 1))
    ]
    models = [evaluated, *others]
    with pytest.raises(ValueError, match="and a path"):
        write_robustness(models, dataset, split="half")
    with pytest.raises(FileNotFoundError, match=r"found classifiers: none\. .* `ulna evaluate`"):
        write_robustness(models, dataset, split="half", path=tmp_path / "both.png")
    assert not drawn
    for other in others:
        evaluate(other, dataset, Linear(epochs=30), split="half", seeds=1, save=True)
    path = write_robustness(models, dataset, split="half", seeds=1, path=tmp_path / "new" / "both.png")
    assert path == tmp_path / "new" / "both.png"
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [evaluated.recipe.name, "another, 2 models"]
    saved = json.loads((evaluated.path / "results" / "robustness" / "linear-half.json").read_text())
    lines = {line.get_label(): line for line in drawn[0].axes[0].lines}
    expected = [100 * saved["accuracy"]["noise"][f"{level:g}"][0] for level in (0, 1, 2, 4, 8)]
    assert lines[evaluated.recipe.name].get_ydata().tolist() == pytest.approx(expected)


def test_variants_of_a_recipe_are_told_apart_by_their_folders(evaluated, dataset, tmp_path):
    changed = tiny(epochs=1, weight_decay=0.0)
    assert changed.name == evaluated.recipe.name
    variant = model_of(changed, dataset, tmp_path / "variant")
    names = [f"{evaluated.recipe.name} ({one.path})" for one in (evaluated, variant)]
    assert list(_by_recipe([evaluated, variant])) == names
    with pytest.raises(ValueError, match="models of one recipe and start on the same clips"):
        _by_recipe([evaluated, evaluated])


def test_the_report_holds_models_results_and_predictions(evaluated, dataset, tmp_path):
    page = write_report([evaluated], tmp_path / "report.html").read_text()
    assert "https://" not in page
    content = data_of(page)
    assert content["recipe"]["encoder"]["name"] == "gl_transformer"
    (model,) = content["models"]
    assert (model["name"], model["seed"], model["curves"]["epoch"]) == ("evaluated", 0, [1.0, 2.0])
    results = content["results"]
    assert [(one["kind"], one["split"]) for one in results] == [
        ("trained", "half"), ("random_init", "half"), ("chance", "half"), ("raw_joints", "half"),
    ]  # fmt: skip
    saved = EvalResult.open(evaluated.path / "results" / "linear-half.json")
    assert results[0]["mean"] == saved.accuracy
    test = dataset.split("half")[1]
    points = {clip: predicted for _, _, _, predicted, clip in content["map"]["points"]}
    assert sorted(points) == sorted(saved.clips)
    assert [points[clip] for clip in saved.clips] == saved.seeds[0].predictions, "the classifier of the evaluation"
    assert content["classes"] == list(CLASSES)
    assert 1 <= len(content["clips"]) <= 8
    for clip in content["clips"]:
        number = dataset.ids.index(clip["id"])
        assert number in test
        assert clip["label"] == dataset.labels[number]
        assert clip["predicted"] == points[clip["id"]]


def test_rows_and_tables(tmp_path):
    result = EvalResult(
        key=ResultKey(protocol="linear", split="s"),
        classes=["a", "b"],
        clips=list("wxyz"),
        labels=[0, 0, 1, 1],
        seeds=[SeedResult(seed=0, predictions=[0, 0, 1, 0]), SeedResult(seed=1, predictions=[0, 1, 1, 0])],
    )
    path = tmp_path / "results.csv"
    append_results(path, [result])
    assert read_rows(path) == rows_of(result)
    append_results(path, [result.replace(key=result.key.replace(split="t"), seeds=result.seeds[:1])])
    rows = read_rows(path)
    assert [(row.split, row.seed, row.accuracy, row.num_test) for row in rows] == [
        ("s", 0, 75.0, 4), ("s", 1, 50.0, 4), ("t", 0, 75.0, 4),
    ]  # fmt: skip
    assert len({row.key for row in rows}) == 1, "folds are averaged"
    larger = rows[2].replace(num_test=12, accuracy=25.0)
    assert mean_and_sd([rows[0], larger]) == (pytest.approx((4 * 75 + 12 * 25) / 16), None)
    assert mean_and_sd([*rows[:2], larger]) == mean_and_sd([rows[0], larger]), "seed 1 lacks a fold"
    both = [*rows[:2], larger, larger.replace(seed=1, accuracy=75.0)]
    assert mean_and_sd(both) == (pytest.approx((37.5 + 68.75) / 2), pytest.approx(np.std([37.5, 68.75], ddof=1)))
    other = rows[2].replace(start="gl_transformer/nw_ucla_muon")
    with pytest.raises(InputError, match="expected rows of one result to average, found"):
        mean_and_sd([rows[0], other])
    assert mean_and_sd(rows[:2]) == (pytest.approx(62.5), pytest.approx(result.sd * 100))
    lines = [["linear", cell(rows[:2]), cell(rows[2:])], ["others", "70.2", cell([])]]
    assert markdown(["", "s", "t"], lines).splitlines() == [
        "|  | s | t |", "|---|---|---|", "| linear | 62.5 ± 17.7 | 75.0 |", "| others | 70.2 |  |",
    ]  # fmt: skip
    path.write_text(path.read_text().replace("75.0", "many", 1))
    with pytest.raises(InputError, match=r"results\.csv, line 2: accuracy: expected .*, found 'many'"):
        read_rows(path)


def test_spread_is_over_models_if_there_are_several():
    def rows(model, *accuracies):
        seeds = [SeedResult(seed=k, predictions=[0] * a + [1] * (4 - a), run=model) for k, a in enumerate(accuracies)]
        key = ResultKey(protocol="linear", split="s")
        return rows_of(EvalResult(key=key, classes=["a", "b"], clips=list("wxyz"), labels=[0] * 4, seeds=seeds))

    found = rows("one", 4, 4) + rows("two", 2, 0)
    mean, sd = mean_and_sd(found)
    assert mean == pytest.approx(62.5)
    assert sd == pytest.approx(np.std([100, 25], ddof=1)), "seeds of one model are not independent"


def test_folds_are_pooled():
    def fold(name, clips, predictions):
        seeds = [SeedResult(seed=i, predictions=p, run=f"{name}-{i}") for i, p in enumerate(predictions)]
        return EvalResult(
            key=ResultKey(protocol="linear", split=name),
            classes=["a", "b"],
            clips=clips,
            labels=[0] * len(clips),
            seeds=seeds,
            copied=[0],
        )

    pooled = pool_folds([fold("f1", ["u", "v"], [[0, 0], [0, 1]]), fold("f2", ["w"], [[0], [1]])])
    assert pooled.accuracies.tolist() == [1.0, pytest.approx(1 / 3)]
    assert (pooled.key.split, pooled.clips, pooled.copied) == ("f1+f2", ["u", "v", "w"], [0, 2])
    assert pooled.spread_over == "2 models"
    with pytest.raises(ValueError, match="share no test clip"):
        pool_folds([fold("f1", ["u"], [[0]]), fold("f2", ["u"], [[0]])])
