"""Pretraining: recipes, runs, resume, errors."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ulna
from conftest import make_clip, run_of, tiny
from ulna.core import get_skeleton
from ulna.data import write_dataset
from ulna.recipes import RECIPES
from ulna.training import Recipe, Training


def weights(run):
    return load_file(run.path / "weights.safetensors")


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_what_they_say(name):
    recipe = RECIPES[name]()
    assert recipe.name == name
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert RECIPES[name].__doc__


def test_unknown_fields_of_a_saved_recipe_are_named():
    values = tiny().to_json()
    values["training"]["learning_rat"] = 1
    with pytest.raises(ValueError, match="did you mean 'learning_rate'"):
        Recipe.from_json(values)


def test_a_run_learns_and_can_be_loaded(dataset, tmp_path):
    run = run_of(tiny(epochs=6), dataset, tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    with (run.path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    losses = [float(row["loss"]) for row in rows]
    assert losses[-1] < 0.9 * losses[0]
    for row in rows:
        assert float(row["loss"]) == pytest.approx(float(row["direction"]) + float(row["magnitude"]), abs=1e-4)
    assert float(rows[-1]["learning_rate"]) == pytest.approx(1e-2 * 0.99**5, rel=1e-3)

    again = ulna.load(run.path)
    assert again.recipe == run.recipe
    assert again.metadata["data"]["fingerprint"] == dataset.fingerprint
    assert same(weights(run), dict(again.pretext.state_dict()))
    assert not again.encoder.training
    assert not same(dict(run.untrained(0).state_dict()), dict(run.encoder.state_dict()))
    assert (run.path / "tensorboard").is_dir()


def test_the_seed_decides_everything(dataset, tmp_path):
    one, two = (run_of(tiny(), dataset, tmp_path / name) for name in "ab")
    other = run_of(tiny(seed=1), dataset, tmp_path / "c")
    assert same(weights(one), weights(two))
    assert not same(weights(one), weights(other))


def cut_power_at(when, monkeypatch):
    """Make training fail at a step."""
    step = ulna.training.module.Pretraining.training_step

    def fail_late(self, batch, batch_idx):
        if self.global_step == when:
            raise RuntimeError("power cut")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(ulna.training.module.Pretraining, "training_step", fail_late)


def test_resumed_is_as_if_never_stopped(dataset, tmp_path, monkeypatch):
    whole = run_of(tiny(epochs=4), dataset, tmp_path / "whole")
    cut_power_at(7, monkeypatch)
    with pytest.raises(RuntimeError, match="power cut"):
        run_of(tiny(epochs=4), dataset, tmp_path / "cut")
    monkeypatch.undo()
    assert not (tmp_path / "cut").exists()
    with pytest.raises(FileExistsError, match="pass --resume"):
        run_of(tiny(epochs=4), dataset, tmp_path / "cut")
    with pytest.raises(ValueError, match="expected the recipe that the run was started with"):
        run_of(tiny(epochs=5), dataset, tmp_path / "cut", resume=True)
    resumed = run_of(tiny(epochs=4), dataset, tmp_path / "cut", resume=True)
    assert same(weights(whole), weights(resumed))
    columns = [
        [row[:5] for row in csv.reader((run.path / "metrics.csv").read_text().splitlines())] for run in (whole, resumed)
    ]
    assert columns[0] == columns[1]


def test_checkpoints_hold_plain_tensors_and_numbers(dataset, tmp_path):
    run = run_of(tiny(), dataset, tmp_path / "run")
    content = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["global_step"] == 6


def test_a_loss_that_is_not_finite_stops(dataset, tmp_path):
    recipe = tiny(epochs=3)
    recipe = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, learning_rate=1e30))
    with pytest.raises(RuntimeError, match=r"loss became NaN or infinite at step \d+ with learning rate 1e\+30"):
        run_of(recipe, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_that_are_not_finite_are_not_saved(dataset, tmp_path):
    """Their loss would be the first to tell, but after the last step nobody asks for it."""
    recipe = tiny(epochs=1)
    recipe = dataclasses.replace(
        recipe, training=dataclasses.replace(recipe.training, batch_size=20, learning_rate=1e39)
    )
    with pytest.raises(RuntimeError, match="weights became NaN or infinite by step 1"):
        run_of(recipe, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.rglob("*.ckpt"))


def test_bfloat16_and_every_clip(dataset, tmp_path):
    recipe = dataclasses.replace(tiny(epochs=1, precision="bf16-mixed"), split=None)
    run = run_of(recipe, dataset, tmp_path / "run")
    assert run.metadata["data"]["num_clips"] == 40
    assert all(value.dtype == torch.float32 for value in weights(run).values())


def test_targets_are_made_in_full_precision(dataset, tmp_path, monkeypatch):
    """Lightning runs a step under autocast; a rounded joint would be another class."""
    seen = []
    losses = ulna.pretext.MPDP.losses

    def watch(self, batch):
        seen.append([target.clone() for target in self.targets(batch)])
        return losses(self, batch)

    monkeypatch.setattr(ulna.pretext.MPDP, "losses", watch)
    for precision in ("32-true", "bf16-mixed"):
        run_of(tiny(epochs=1, precision=precision), dataset, tmp_path / precision)
    half = len(seen) // 2
    for full, mixed in zip(seen[:half], seen[half:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(full, mixed, strict=True))


def test_what_does_not_fit_is_refused(dataset, tmp_path):
    with pytest.raises(ValueError, match=r"unknown split of .* 'haf'; did you mean 'half'"):
        run_of(dataclasses.replace(tiny(), split="haf"), dataset, tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="unfinished run to resume"):
        run_of(tiny(), dataset, tmp_path / "run", resume=True)
    run = run_of(tiny(epochs=1), dataset, tmp_path / "run")
    with pytest.raises(FileExistsError, match="exists already"):
        run_of(tiny(), dataset, tmp_path / "run")
    other = write_dataset(tmp_path / "sbu", [make_clip("a", 5, skeleton="sbu")], get_skeleton("sbu"))
    with pytest.raises(ValueError, match=r"expected skeleton 'kinect_v1' \(20 joints\).* got 'sbu' \(15 joints\)"):
        run.check(other)
    with pytest.raises(FileNotFoundError, match="expected a run"):
        ulna.load(tmp_path / "sbu")
    (run.path / "recipe.json").write_text("{")
    with pytest.raises(ValueError, match="got a damaged file"):
        ulna.load(run.path)


def test_one_frame_clips_take_part(tmp_path):
    clips = [make_clip(f"c{i}", 1 + i % 2, label=0, seed=i) for i in range(6)]
    dataset = write_dataset(tmp_path / "dataset", clips, get_skeleton("kinect_v1"), classes=["x"])
    run = run_of(dataclasses.replace(tiny(epochs=1), split=None), dataset, tmp_path / "run")
    assert np.isfinite(float(next(csv.DictReader((run.path / "metrics.csv").read_text().splitlines()))["loss"]))


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
    run = run_of(recipe, dataset, tmp_path / "run")
    with (run.path / "metrics.csv").open() as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    steps = run.metadata["steps"] // 3
    expected = [recipe.training.learning_rate * recipe.training.rate(steps * (e + 1) - 1, steps) for e in range(3)]
    assert rates == pytest.approx(expected, rel=1e-3)
