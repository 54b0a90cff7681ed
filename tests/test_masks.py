"""What `ulna masks` shows of a model pretrained by HA-CM."""

import base64
import json
import re

import numpy as np
import pytest

from conftest import make_clip, model_of, tiny
from ulna.analysis import write_masks
from ulna.analysis.masks import masks
from ulna.dataset import Dataset
from ulna.encoders import SegmentTransformer
from ulna.preprocessing import Shifted
from ulna.pretext import HACM

CLASSES = ("x", "y")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A model and clips of two persons, the second of whom is missing from the last clip."""
    clips = [
        make_clip(f"c{i}", 20, num_persons=2, label=CLASSES[i % 2], seed=i, splits={"half": "train"}) for i in range(4)
    ]
    clips += [
        make_clip(f"t{i}", 20, num_persons=2, label=CLASSES[i], seed=i, splits={"half": "test"}) for i in range(2)
    ]
    clips[-1].visible[:, 1] = False
    folder = tmp_path_factory.mktemp("masks")
    dataset = Dataset.write(folder / "dataset", clips, classes=CLASSES)
    recipe = tiny(epochs=1).replace(
        preprocessor=Shifted.Config(max_frames=36),
        encoder=SegmentTransformer.Config(embed_dim=16, num_heads=2, depth=1),
        pretext=HACM.Config(hierarchy="graph", temperature=0.2),
    )
    return model_of(recipe, dataset, folder / "model"), dataset


def test_draws_follow_the_scores(found):
    own = masks(*found, split="half", num_clips=2, draws=300)
    assert own.hierarchy.shape == (6, 13)
    np.testing.assert_allclose(np.nanmean(own.hierarchy), 1, atol=1e-6)
    assert np.nanmean(own.visible) == pytest.approx(1 - found[0].recipe.pretext.mask_ratio, abs=0.02)
    feet, elbows = ([k for k, name in enumerate(own.names[:13]) if word in name] for word in ("foot", "elbow"))
    assert own.hierarchy[:, feet].mean() == pytest.approx(3 * own.hierarchy[:, elbows].mean())
    assert own.visible[1][:, feet].mean() > 2 * own.visible[1][:, elbows].mean()
    visible, by_chance = own.highest[1]
    assert by_chance == pytest.approx(4 / 13)  # hands and feet, whose scores are equal
    assert visible > 2 * by_chance
    assert own.points.shape == (20, 16)
    assert (np.linalg.norm(own.points, axis=1) < 1).all()


def test_figures_and_page(found):
    model, dataset = found
    written = write_masks(model, dataset, split="half", num_clips=2)
    assert [path.name for path in written] == ["masks_scores.png", "masks_ball.png", "masks.html"]
    page = written[-1].read_text()
    assert "https://" not in page
    content = json.loads(re.search(r"const DATA = (.*);\n", page)[1])
    assert [len(clip["rows"]) for clip in content["clips"]] == [2, 1]
    one = content["clips"][1]
    drawn = np.frombuffer(base64.b64decode(one["draws"][0]), np.uint8).reshape(1, one["segments"], 13)
    assert drawn.sum() == 2 * int(0.1 * 6 * 13)


def test_one_group_and_no_pruned_torso(found, tmp_path):
    model, dataset = found
    recipe = model.recipe.replace(
        encoder=model.recipe.encoder.replace(prune_torso=False),
        pretext=HACM.Config(groups=1, temporal="motion", contrast=0.0),
    )
    one = model_of(recipe, dataset, tmp_path / "model")
    own = masks(one, dataset, split="half", num_clips=2)
    assert own.titles == ["motion"]
    assert len(own.names) == len(set(own.names)) == 20
    assert len(write_masks(one, dataset, split="half", num_clips=2)) == 3


def test_other_models_are_refused(dataset, model):
    with pytest.raises(ValueError, match="expected a model pretrained by HA-CM, found one by MPDP"):
        masks(model, dataset)
