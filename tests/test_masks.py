"""What `ulna masks` shows of a run of cross masking."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from conftest import make_clip, run_of, tiny
from ulna.analysis import write_masks
from ulna.analysis.masks import masks
from ulna.core import get_skeleton, options
from ulna.data import write_dataset
from ulna.encoders import ENCODERS
from ulna.preprocessing import PREPROCESSORS
from ulna.pretext import PRETEXTS


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A run on clips of two persons, the second of whom is missing from the last clip."""
    clips = [make_clip(f"c{i}", 20, num_persons=2, label=i % 2, seed=i, splits={"half": "train"}) for i in range(4)]
    clips += [make_clip(f"t{i}", 20, num_persons=2, label=i, seed=i, splits={"half": "test"}) for i in range(2)]
    clips[-1].visible[:, 1] = False
    folder = tmp_path_factory.mktemp("masks")
    dataset = write_dataset(folder / "dataset", clips, get_skeleton("kinect_v1"), classes=["x", "y"])
    recipe = replace(
        tiny(epochs=1),
        input=options(PREPROCESSORS, "shifted", max_frames=36),
        encoder=options(ENCODERS, "segment_transformer", width=16, num_heads=2, num_blocks=1),
        pretext=options(PRETEXTS, "cross_masking", hierarchy="graph", temperature=0.2),
    )
    return run_of(recipe, dataset, folder / "run"), dataset


def test_draws_follow_the_scores(found):
    own = masks(*found, split="half", num_clips=2, draws=300)
    assert own.hierarchy.shape == (6, 13)
    np.testing.assert_allclose(np.nanmean(own.hierarchy), 1, atol=1e-6)
    assert np.nanmean(own.shown) == pytest.approx(own.keep_ratio, abs=0.02)
    feet, elbows = ([k for k, name in enumerate(own.names[:13]) if word in name] for word in ("foot", "elbow"))
    assert own.hierarchy[:, feet].mean() == pytest.approx(3 * own.hierarchy[:, elbows].mean())
    assert own.shown[1][:, feet].mean() > 2 * own.shown[1][:, elbows].mean()
    shown, by_chance = own.highest[1]
    assert by_chance == pytest.approx(4 / 13)  # hands and feet, whose scores are equal
    assert shown > 2 * by_chance
    assert own.points.shape == (20, 16)
    assert (np.linalg.norm(own.points, axis=1) < 1).all()


def test_figures_and_page(found):
    run, dataset = found
    written = write_masks(run, dataset, split="half", num_clips=2)
    assert [path.name for path in written] == ["masks_scores.png", "masks_ball.png", "masks.html"]
    page = written[-1].read_text()
    assert "https://" not in page
    shown = json.loads(re.search(r"const DATA = (.*);\n", page)[1])
    assert [len(clip["rows"]) for clip in shown["clips"]] == [2, 1]
    one = shown["clips"][1]
    drawn = np.frombuffer(base64.b64decode(one["draws"][0]), np.uint8).reshape(1, one["segments"], 13)
    assert drawn.sum() == 2 * int(0.1 * 6 * 13)


def test_one_group_and_no_pruned_torso(found, tmp_path):
    run, dataset = found
    own = options(PRETEXTS, "cross_masking", groups=1, temporal="motion", contrast=0.0)
    whole = options(ENCODERS, "segment_transformer", width=16, num_heads=2, num_blocks=1, prune_torso=False)
    one = run_of(replace(run.recipe, encoder=whole, pretext=own), dataset, tmp_path / "run")
    seen = masks(one, dataset, split="half", num_clips=2)
    assert seen.titles == ["motion"]
    assert len(seen.names) == len(set(seen.names)) == 20
    assert len(write_masks(one, dataset, split="half", num_clips=2)) == 3


def test_other_runs_are_refused(dataset, run):
    with pytest.raises(ValueError, match="expected a run of cross masking, got one of displacement"):
        masks(run, dataset)
