"""Attention figures, the robustness card, tables of results."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from conftest import make_clip, run_of, tiny
from ulna.analysis import write_attention, write_report, write_robustness
from ulna.analysis.attention import attention
from ulna.analysis.robustness import DISTURBANCES, Disturbed, _by_recipe, dropped_frames, frame_rate, robustness
from ulna.analysis.table import Cell, Line, write_table
from ulna.core import get_skeleton, options
from ulna.data import Batch, write_dataset
from ulna.encoders import ENCODERS, Encoder
from ulna.preprocessing import Disentangled
from ulna.evaluation import PROTOCOLS, EvalResult
from ulna.evaluation.classifier import Classifier
from ulna.evaluation.evaluation import evaluate
from ulna.evaluation.result import SeedResult, pool


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    run = run_of(tiny(epochs=2), dataset, tmp_path_factory.mktemp("runs") / "run")
    evaluate(run, dataset, protocol=options(PROTOCOLS, "linear", epochs=30), split="half", seeds=1)
    return run


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A run on clips of two persons, some with only one."""
    clips = [make_clip(f"c{i}", 6 + i, num_persons=2, label=i % 2, seed=i, splits={"half": "train"}) for i in range(4)]
    clips += [make_clip(f"t{i}", 40 * i + 3, num_persons=2, label=i, seed=i, splits={"half": "test"}) for i in range(2)]
    clips[-1].visible[:, 1] = False
    folder = tmp_path_factory.mktemp("pairs")
    dataset = write_dataset(folder / "dataset", clips, get_skeleton("kinect_v1"), classes=["x", "y"])
    return run_of(tiny(epochs=1), dataset, folder / "run"), dataset


def test_attention_averages_what_the_encoder_gives(run, dataset):
    found = attention(run, dataset, split="half", num_clips=7)
    assert found.num_clips == 7
    assert found.spatial.shape == (1, 2, 20, 20)
    assert found.temporal.shape == (1, 2, 30, 30)
    np.testing.assert_allclose(found.spatial.sum(axis=-1), 1, atol=1e-5)
    assert found.names[0] == "(global)"
    assert sorted(found.names[1:]) == sorted(j.replace("_", " ") for j in run.skeleton.joints if j != "spine")
    only = dataclasses.replace(dataset.clip(int(dataset.split("half")[1][0])))
    _, maps = run.encoder.attend(run.form(Batch.from_clips([only], max_frames=16)))
    one = attention(run, _single(dataset), num_clips=1)
    centre = run.skeleton.index("spine")
    own = maps[0].spatial.mean(dim=0)[0].detach()
    assert one.spatial[0, 0, 0, 0] == pytest.approx(float(own[centre, centre]), abs=1e-5), "the global node is first"
    length = only.num_frames
    time = np.arange(length)
    by_hand = (maps[0].temporal[0][1].detach().numpy() * np.abs(time[:, None] - time)).sum(axis=1).mean()
    assert one.distance[0, 1] == pytest.approx(by_hand, abs=1e-4)
    assert one.positions[0].shape == (16, 16)


def _single(dataset):
    """A dataset with the first test clip alone."""
    clip = dataset.clip(int(dataset.split("half")[1][0]))
    return write_dataset(dataset.path.parent / "single", [clip], dataset.skeleton, classes=dataset.classes)


def test_attention_of_two_persons_is_person_by_person(pairs):
    run, dataset = pairs
    found = attention(run, dataset, split="half")
    assert found.names == found.names[:20] * 2
    written = write_attention([run], dataset, split="half")
    assert [path.name for path in written] == [
        "attention_spatial.png", "attention_temporal.png", "attention_distance.png", "attention_positions.png",
        "attention.html",
    ]  # fmt: skip
    page = written[-1].read_text()
    assert "https://" not in page
    shown = json.loads(re.search(r"const DATA = (.*);\n", page)[1])
    assert len(shown["clips"][0]["persons"]) in (1, 2)
    assert shown["shape"] == [1, 2]


def test_attention_over_time_alone(dataset, tmp_path):
    """H-Transformer: no map among joints, and five heads, then fewer."""
    recipe = dataclasses.replace(tiny(epochs=1), encoder=options(ENCODERS, "h_transformer", width=16))
    run = run_of(recipe, dataset, tmp_path / "run")
    found = attention(run, dataset, split="half", num_clips=3)
    assert found.spatial is None
    assert np.isfinite(found.distance).sum(axis=1).tolist() == [5, 4, 2, 1]
    assert np.isnan(found.temporal[:, :, 0, 0]).sum(axis=1).tolist() == [0, 1, 3, 4]
    written = write_attention([run], dataset, split="half", num_clips=3)
    assert "attention_spatial.png" not in [path.name for path in written]
    shown = json.loads(re.search(r"const DATA = (.*);\n", written[-1].read_text())[1])
    assert shown["clips"][0]["spatial"] is None
    assert shown["distance"][3][1:] == [None] * 4


def test_an_encoder_without_attention_says_so():
    class Plain(Encoder):
        embedding_width = 1

        def embed(self, batch):
            return torch.zeros(batch.num_clips, 1)

    with pytest.raises(ValueError, match="Plain gives no attention maps"):
        Plain().attend(Batch.from_clips([make_clip("a", 2)]))
    assert Plain().positions() == []


def test_disturbances_by_hand():
    batch = Batch.from_clips([make_clip("a", 8), make_clip("b", 5, seed=1)])
    generator = np.random.default_rng(0)
    for name, disturbance in DISTURBANCES.items():
        changed = disturbance.change(batch, disturbance.levels[0], generator)
        torch.testing.assert_close(changed.position, batch.position), name
        assert torch.equal(changed.visible, batch.visible)
    assert frame_rate(batch, 0.5, generator).lengths == [4, 2]
    half = dropped_frames(batch, 50.0, generator)
    assert half.lengths == [8, 5]
    assert half.visible[[0, 8]].all(), "first frames stay"
    assert not half.visible.all()
    assert not half.position[~half.visible].any()
    noisy = DISTURBANCES["noise"].change(batch, 3.0, generator)
    assert (noisy.position - batch.position).std() == pytest.approx(0.03, abs=0.003)
    turned = DISTURBANCES["viewpoint"].change(batch, 90.0, generator)
    torch.testing.assert_close(turned.position[..., 1], batch.position[..., 1])
    torch.testing.assert_close(turned.position.norm(dim=-1), batch.position.norm(dim=-1))
    assert (turned.position[..., 0].abs() - batch.position[..., 2].abs()).abs().max() < 1e-5
    fewer = DISTURBANCES["dropped_joints"].change(batch, 40.0, generator)
    assert torch.equal(fewer.visible[:8], fewer.visible[:1].expand(8, -1, -1)), "for the whole clip"


def test_a_disturbed_form_is_cut_after_it():
    form = Disturbed(Disentangled(max_frames=6), frame_rate, 0.5, 0)
    assert form.crop is None
    assert form(Batch.from_clips([make_clip("a", 20)])).lengths == [6]


def test_the_card(run, dataset):
    path = write_robustness([run], dataset, split="half", seeds=2)
    assert path.read_bytes().startswith(b"\x89PNG")
    saved = json.loads((run.path / "results" / "robustness" / "linear-half.json").read_text())
    plain = EvalResult.open(run.path / "results" / "linear-half.json").mean
    for name, levels in saved["accuracy"].items():
        first = f"{DISTURBANCES[name].levels[0]:g}"
        assert levels[first] == [pytest.approx(plain)]
        assert len(levels) == len(DISTURBANCES[name].levels)
    assert len(saved["accuracy"]["noise"]["8"]) == 2
    assert saved["accuracy"]["viewpoint"]["180"] == [pytest.approx(plain)], "heading undoes a turn of the camera"
    report = write_report([run], run.path / "report.html", dataset=dataset).read_text()
    assert "data:image/png;base64" in report
    with pytest.raises(FileNotFoundError, match="got none of that name; choose among linear"):
        robustness(run, dataset, split="half", protocol="finetune")
    own = Classifier.open(run.path)
    dataclasses.replace(own, fingerprint="another").save(run.path, "linear")
    with pytest.raises(ValueError, match="got one of split 'half' of data another"):
        robustness(run, dataset, split="half")
    own.save(run.path, "linear")


def test_cards_of_several_recipes_are_one_figure(run, dataset, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, *_, **__: drawn.append(figure))
    others = [
        run_of(dataclasses.replace(tiny(epochs=1, seed=seed), name=name), dataset, tmp_path / f"{name}{seed}")
        for name, seed in (("another", 0), ("another", 1))
    ]
    runs = [run, *others]
    with pytest.raises(ValueError, match="and a path"):
        write_robustness(runs, dataset, split="half")
    with pytest.raises(FileNotFoundError, match="evaluate the run first"):
        write_robustness(runs, dataset, split="half", path=tmp_path / "both.png")
    assert not drawn
    for other in others:
        evaluate(other, dataset, protocol=options(PROTOCOLS, "linear", epochs=30), split="half", seeds=1)
    path = write_robustness(runs, dataset, split="half", seeds=1, path=tmp_path / "new" / "both.png")
    assert path == tmp_path / "new" / "both.png"
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [run.recipe.name, "another, 2 runs"]
    noise = json.loads((run.path / "results" / "robustness" / "linear-half.json").read_text())["accuracy"]["noise"]
    lines = {line.get_label(): line for line in drawn[0].axes[0].lines}
    expected = [100 * noise[f"{level:g}"][0] for level in (0, 1, 2, 4, 8)]
    assert lines[run.recipe.name].get_ydata().tolist() == pytest.approx(expected)


def test_variants_of_a_recipe_are_told_apart_by_their_place(run, dataset, tmp_path):
    changed = tiny(epochs=1)
    changed = dataclasses.replace(changed, training=dataclasses.replace(changed.training, weight_decay=0.0))
    variant = run_of(dataclasses.replace(changed, name=run.recipe.name), dataset, tmp_path / "variant")
    assert list(_by_recipe([run, variant])) == [f"{run.recipe.name} ({one.path})" for one in (run, variant)]
    with pytest.raises(ValueError, match="runs of one recipe on the same clips"):
        _by_recipe([run, run])


def test_tables(tmp_path):
    result = EvalResult("p", {}, "s", ["a", "b"], list("wxyz"), [0, 0, 1, 1], [SeedResult(0, [0, 0, 1, 0])])
    (tmp_path / "results").mkdir()
    result.save(tmp_path / "results" / "o.json")
    ours = Line("ours", {"p": Cell.of(result, tmp_path / "results" / "o.json")})
    lines = [Line("others", {"linear": Cell(70.25)}, is_ours=False), ours]
    text = write_table("Title", lines, tmp_path / "table.md").read_text().splitlines()
    assert text[2:6] == [
        "| | p | linear |", "|---|---|---|", "| others |  | 70.2 |", "| **ours** | [75.0](results/o.json) |  |",
    ]  # fmt: skip
    assert (tmp_path / "table.png").is_file()
    (cell,) = ours.cells.values()
    assert cell.repeats(Cell.of(result, tmp_path / "elsewhere.json"))
    assert not cell.repeats(Cell(75.0))
    assert not cell.repeats(None)


def test_training_from_scratch_stands_beside_fine_tuning(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, *_, **__: drawn.append(figure))
    names = ("few-labels 5pct", "scratch 5pct", "scratch", "finetune mean", "scratch mean")
    cells = {name: Cell(50.0, file=tmp_path / "o.json") for name in names}
    write_table("Title", [Line("ours", cells)], tmp_path / "table.md")
    panels = {axis.get_title(): [line.get_marker() for line in axis.lines] for axis in drawn[0].axes}
    assert panels == {"few-labels 5pct": ["o", "D"], "scratch": ["o"], "finetune mean": ["o", "D"]}


def test_folds_are_pooled():
    def fold(name, clips, predictions):
        seeds = [SeedResult(i, p, run=f"{name}-{i}") for i, p in enumerate(predictions)]
        return EvalResult("p", {}, name, ["a", "b"], clips, [0] * len(clips), seeds, copied=[0])

    pooled = pool([fold("f1", ["u", "v"], [[0, 0], [0, 1]]), fold("f2", ["w"], [[0], [1]])])
    assert pooled.accuracies.tolist() == [1.0, pytest.approx(1 / 3)]
    assert (pooled.split, pooled.clips, pooled.copied) == ("f1+f2", ["u", "v", "w"], [0, 2])
    assert pooled.spread_over == "2 runs"
    with pytest.raises(ValueError, match="share no test clip"):
        pool([fold("f1", ["u"], [[0]]), fold("f2", ["u"], [[0]])])
