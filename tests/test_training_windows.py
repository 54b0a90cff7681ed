"""Windows that classifiers of timelines and streams are trained on, and cross-validation by recording."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import CLASSES, make_clip, model_of, tiny
from ulna.cli.fit import main as cli_fit
from ulna.core import InputError
from ulna.dataset import Dataset, assemble
from ulna.models import fitting, load
from ulna.models.fitting import fit_logistic_regression
from ulna.models.training_windows import MOST_WINDOWS, PER_RECORDING, TrainingWindows


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory):
    return model_of(tiny(epochs=1), dataset, tmp_path_factory.mktemp("windows") / "model")


def test_windows_show_mostly_one_clip(dataset):
    clips, _ = dataset.split("half")
    found = TrainingWindows.of(dataset, clips, (0.5, 1.0))
    assert len(found.clips) == len(found.sources)
    assert 0 < len(found.clips) <= MOST_WINDOWS
    lengths = {round(seconds * dataset.fps[0]) for seconds in (0.5, 1.0)}
    assert {window.num_frames for window in found.clips} <= lengths | set(dataset.lengths.tolist())
    whole = dataset.clip(int(clips[found.sources[0]]))
    window = found.clips[0]
    shift = window.position[0] - whole.position[0]  # the first window starts with the first clip of a recording
    assert np.allclose(window.position[:5] - whole.position[:5], shift, atol=1e-5)


def test_recordings_show_one_owner_and_ten_clips(dataset):
    clips, _ = dataset.split("half")
    found = TrainingWindows.of(dataset, clips, (1.0,))
    owners = dataset.owners[clips]
    assert np.bincount(found.recordings).max() <= PER_RECORDING
    if len(np.unique(owners)) <= len(clips) / 2:
        assert all(len(set(owners[found.recordings == number])) == 1 for number in set(found.recordings))


def test_clips_of_many_owners_share_recordings(tmp_path):
    made = [make_clip(f"c{i}", 20, label=CLASSES[i % 2]) for i in range(6)]
    dataset = Dataset.write(tmp_path / "data", made, classes=CLASSES)
    found = TrainingWindows.of(dataset, np.arange(6), (0.5,))
    assert found.recordings.tolist() == [0] * 6


def test_fit_on_windows_improves_windows(model, dataset):
    """A classifier that has seen windows is right about more windows of the same recordings."""
    clips, _ = dataset.split("half")
    found = TrainingWindows.of(dataset, clips, model.fit(dataset, split="half").config.durations)
    labels = [dataset.classes[label] for label in dataset.labels[clips][found.sources]]
    right = []
    for windows in (False, True):
        model.fit(dataset, split="half", windows=windows, classifier="own")
        answers = model.predict(found.clips, classifier="own")
        right.append(np.mean([answer.label == label for answer, label in zip(answers, labels, strict=True)]))
    assert right[1] >= right[0]
    (recording, _), *_ = assemble(dataset, clips)
    assert model.timeline(recording, classifier="own")[0].events


def test_windows_of_labels_by_name_and_the_command(model, dataset, tmp_path):
    model.save(tmp_path / "saved")
    cli_fit([str(tmp_path / "saved"), "--data", str(dataset.path), "--split", "half", "--windows"])
    plain = model.fit(dataset, split="half", windows=True)
    assert torch.allclose(load(tmp_path / "saved").classifier("fit").weight, plain.weight, atol=1e-5)
    names = {name: "left" if number % 2 else "right" for number, name in enumerate(dataset.ids)}
    assert model.fit(dataset, labels=names, windows=True).config.classes == ("left", "right")


def test_several_frame_rates_have_no_windows(model, tmp_path):
    clips = [make_clip(f"c{i}", 20, label=CLASSES[i % 2]) for i in range(8)]
    clips[4:] = [replace(clip, fps=2 * clip.fps) for clip in clips[4:]]
    dataset = Dataset.write(tmp_path / "data", clips, classes=CLASSES)
    with pytest.raises(InputError, match="expected clips of one frame rate to cut windows from"):
        TrainingWindows.of(dataset, np.arange(8), (0.5,))


def test_folds_do_not_divide_recordings():
    labels = np.repeat([0, 1, 0, 1, 0, 1, 0, 1, 0, 1], 6)
    recordings = np.repeat(np.arange(10), 6)
    for fitted, held_out in fitting._folds(labels, 5, recordings):
        assert not set(recordings[fitted]) & set(recordings[held_out])
        assert set(labels[fitted]) == {0, 1}
    for fitted, _ in fitting._folds(labels, 5, np.repeat([0, 1, 1, 1, 1, 1, 1, 1, 1, 1], 6)):
        assert set(labels[fitted]) == {0, 1}, "two recordings cannot make five folds"


def test_overlapping_clips_do_not_choose_the_strength():
    """Copies of clips in training and held-out folds make labels that are noise look certain."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 30, generator=generator).repeat_interleave(5, dim=0)
    features += 0.01 * torch.randn(features.shape, generator=generator)
    labels = np.random.default_rng(0).integers(0, 2, 40).repeat(5)
    confidence = {}
    for name, recordings in (("own", np.arange(40).repeat(5)), ("none", None)):
        weight, bias = fit_logistic_regression(features, labels, 2, recordings=recordings)
        confidence[name] = float((features @ weight.T + bias).softmax(dim=1).amax(dim=1).mean())
    assert confidence["own"] < 0.75 < confidence["none"]


def test_many_clips_are_fitted_in_their_principal_directions(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 40, generator=generator)
    labels = np.arange(120) % 3
    features = centres[labels] + 0.3 * torch.randn(120, 40, generator=generator)
    exact = fit_logistic_regression(features, labels, 3)
    monkeypatch.setattr(fitting, "MOST_EXACT", 50)
    monkeypatch.setattr(fitting, "MOST_DIRECTIONS", 10)
    weight, bias = fit_logistic_regression(features, labels, 3)
    assert not torch.allclose(weight, exact[0], atol=1e-4)
    assert np.array_equal((features @ weight.T + bias).argmax(dim=1).numpy(), labels)
