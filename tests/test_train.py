"""Pretraining: models, resume, errors, schedules."""

import csv

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ulna
from conftest import make_clip, model_of, tiny
from ulna.core import ExistsError, InputError, MissingError
from ulna.dataset import Dataset
from ulna.models import Recipe, Training
from ulna.pretext import MPDP
from ulna.training import NonFiniteError
from ulna.training.planned import PlannedModule


def weights(model):
    """All weights in a model's folder, named as in its pretext task."""
    encoder = load_file(model.path / "model.safetensors")
    return {f"encoder.{name}": value for name, value in encoder.items()} | load_file(model.path / "pretext.safetensors")


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def metrics(model):
    with (model.path / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_unknown_fields_of_a_saved_recipe_are_named():
    values = tiny().to_json()
    values["training"]["learning_rat"] = 1
    with pytest.raises(InputError, match="did you mean 'learning_rate'"):
        Recipe.from_json(values)


def test_a_model_learns_and_can_be_loaded(dataset, tmp_path):
    model = model_of(tiny(epochs=6), dataset, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    rows = metrics(model)
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    losses = [float(row["loss"]) for row in rows]
    assert losses[-1] < 0.9 * losses[0]
    for row in rows:
        assert float(row["loss"]) == pytest.approx(float(row["direction"]) + float(row["magnitude"]), abs=1e-4)
    assert float(rows[-1]["learning_rate"]) == pytest.approx(1e-2 * 0.99**5, rel=1e-3)

    again = ulna.load(model.path)
    assert again.recipe == model.recipe
    assert again.config.data.fingerprint == dataset.fingerprint
    assert same(weights(model), dict(again.pretext.state_dict()))
    assert not again.encoder.training
    initial, trained = (dict(one.encoder.state_dict()) for one in (model.random_init(0), model))
    assert initial.keys() == trained.keys()
    assert not same(initial, trained)
    assert (model.path / "tensorboard").is_dir()


def test_the_seed_decides_everything(dataset, tmp_path):
    one, two = (model_of(tiny(), dataset, tmp_path / name) for name in "ab")
    other = model_of(tiny(seed=1), dataset, tmp_path / "c")
    assert same(weights(one), weights(two))
    assert weights(one).keys() == weights(other).keys()
    assert not same(weights(one), weights(other))


def fail_at(when, monkeypatch):
    """Make training fail at a step."""
    step = PlannedModule.training_step

    def fail_late(self, batch, batch_idx):
        if self.global_step == when:
            raise RuntimeError("power cut")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(PlannedModule, "training_step", fail_late)


def test_a_resumed_run_equals_an_uninterrupted_one(dataset, tmp_path, monkeypatch):
    whole = model_of(tiny(epochs=4), dataset, tmp_path / "whole")
    fail_at(7, monkeypatch)
    with pytest.raises(RuntimeError, match="power cut"):
        model_of(tiny(epochs=4), dataset, tmp_path / "cut")
    monkeypatch.undo()
    assert not (tmp_path / "cut").exists()
    with pytest.raises(ExistsError, match="Pass --resume"):
        model_of(tiny(epochs=4), dataset, tmp_path / "cut")
    with pytest.raises(InputError, match="expected the recipe that the run was started with"):
        model_of(tiny(epochs=5), dataset, tmp_path / "cut", resume=True)
    resumed = model_of(tiny(epochs=4), dataset, tmp_path / "cut", resume=True)
    assert same(weights(whole), weights(resumed))
    columns = [
        [row[:5] for row in csv.reader((model.path / "metrics.csv").read_text().splitlines())]
        for model in (whole, resumed)
    ]
    assert columns[0] == columns[1]


def test_checkpoints_hold_plain_tensors_and_numbers(dataset, tmp_path):
    model = model_of(tiny(), dataset, tmp_path / "model")
    content = torch.load(model.path / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["global_step"] == 6


def with_training(recipe, **values):
    return recipe.replace(training=recipe.training.replace(**values))


def test_a_loss_that_is_not_finite_stops(dataset, tmp_path):
    recipe = with_training(tiny(epochs=3), learning_rate=1e30)
    with pytest.raises(NonFiniteError, match=r"loss became NaN or infinite at step \d+ with learning rate 1e\+30"):
        model_of(recipe, dataset, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_weights_that_are_not_finite_are_not_saved(dataset, tmp_path):
    """A loss would show them first, but after the last step none is computed."""
    recipe = with_training(tiny(epochs=1), batch_size=20, learning_rate=1e39)
    with pytest.raises(NonFiniteError, match="weights became NaN or infinite by step 1"):
        model_of(recipe, dataset, tmp_path / "model")
    assert issubclass(NonFiniteError, RuntimeError)
    assert not (tmp_path / "model").exists()
    assert not list(tmp_path.rglob("*.ckpt"))


def test_bfloat16_and_every_clip(dataset, tmp_path):
    recipe = tiny(epochs=1, precision="bf16-mixed").replace(split=None)
    model = model_of(recipe, dataset, tmp_path / "model")
    assert model.config.data.num_clips == 40
    assert all(value.dtype == torch.float32 for value in weights(model).values())


def test_targets_are_made_in_full_precision(dataset, tmp_path, monkeypatch):
    """Lightning runs a step under autocast; a rounded joint would be another class."""
    seen = []
    losses = MPDP.losses

    def watch(self, batch):
        seen.append([target.clone() for target in self.targets(batch)])
        return losses(self, batch)

    monkeypatch.setattr(MPDP, "losses", watch)
    for precision in ("32-true", "bf16-mixed"):
        model_of(tiny(epochs=1, precision=precision), dataset, tmp_path / precision)
    half = len(seen) // 2
    assert half
    for full, mixed in zip(seen[:half], seen[half:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(full, mixed, strict=True))


def test_what_does_not_fit_is_refused(dataset, tmp_path):
    with pytest.raises(InputError, match=r"unknown split of .* 'haf'; did you mean 'half'"):
        model_of(tiny().replace(split="haf"), dataset, tmp_path / "model")
    with pytest.raises(MissingError, match="unfinished run to resume"):
        model_of(tiny(), dataset, tmp_path / "model", resume=True)
    model = model_of(tiny(epochs=1), dataset, tmp_path / "model")
    with pytest.raises(ExistsError, match="exists already"):
        model_of(tiny(), dataset, tmp_path / "model")
    other = Dataset.write(tmp_path / "sbu", [make_clip("a", 5, skeleton="sbu")])
    with pytest.raises(InputError, match=r"expected skeleton 'kinect_v1' \(20 joints\).* found 'sbu' \(15 joints\)"):
        model.embedder(other)
    with pytest.raises(MissingError, match="expected a model"):
        ulna.load(tmp_path / "sbu")
    (model.path / "config.json").write_text("{")
    with pytest.raises(InputError, match="found a damaged file"):
        ulna.load(model.path)


def test_one_frame_clips_take_part(tmp_path):
    clips = [make_clip(f"c{i}", 1 + i % 2, label="x", seed=i) for i in range(6)]
    dataset = Dataset.write(tmp_path / "dataset", clips)
    model = model_of(tiny(epochs=1).replace(split=None), dataset, tmp_path / "model")
    assert model.config.data.num_clips == 6
    assert np.isfinite(float(metrics(model)[0]["loss"]))


def test_learning_rates_by_hand():
    plain = Training(epochs=4, lr_decay=0.5)
    assert [plain.rate(step, 3) for step in (0, 2, 3, 11)] == [1, 1, 0.5, 0.125]
    rising = Training(epochs=4, lr_decay=0.5, warmup=4)
    assert [rising.rate(step, 3) for step in (0, 1, 3)] == [0.25, 0.5, 0.5]
    cosine = Training(epochs=4, schedule="cosine")
    assert [cosine.rate(step, 3) for step in (0, 6)] == pytest.approx([1, 0.5])
    assert cosine.rate(11, 3) == pytest.approx(0.017, abs=1e-3)


def test_the_schedule_is_what_the_optimizer_gets(dataset, tmp_path):
    recipe = tiny(epochs=3, schedule="cosine", warmup=2)
    model = model_of(recipe, dataset, tmp_path / "model")
    rates = [float(row["learning_rate"]) for row in metrics(model)]
    steps = model.config.steps // 3
    expected = [recipe.training.learning_rate * recipe.training.rate(steps * (e + 1) - 1, steps) for e in range(3)]
    assert rates == pytest.approx(expected, rel=1e-3)
