"""Poses in embeddings ("+poses")."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate, normalize

import ulna
from conftest import encoder_of, make_clip, model_of, tiny
from ulna.batch import Batch
from ulna.core import InputError, get_skeleton
from ulna.encoders.pooling import check_pooling, embed_clips, embedding_dim, poses
from ulna.evaluation import evaluate
from ulna.evaluation.protocols import KNN, FineTune
from ulna.preprocessing import Disentangled

LENGTHS = (5, 40, 3, 16)


def batch_of(num_persons=1, encoded=None):
    form = Disentangled(
        Disentangled.Config(max_frames=40), get_skeleton("kinect_v1"), encoded or num_persons, any_clips=bool(encoded)
    )
    clips = [make_clip(f"c{n}", n, seed=n, num_persons=num_persons) for n in LENGTHS]
    return form, form(Batch.from_clips(clips))


@pytest.mark.parametrize("num_persons", [1, 2])
def test_poses_keep_the_distances_of_resampled_positions(num_persons):
    _, batch = batch_of(num_persons)
    found = poses(batch)
    assert found.shape == (4, 32 * num_persons * len(batch.layout) * 3)
    known = torch.where(batch.visible[..., None], batch.position, 0).flatten(1)
    rows = [interpolate(part.T[None], 32, mode="linear")[0].T.flatten() for part in known.split(LENGTHS)]
    expected = normalize(torch.stack(rows), dim=1)
    torch.testing.assert_close(found @ found.T, expected @ expected.T, atol=1e-5, rtol=0)
    torch.testing.assert_close(poses(replace(batch, position=batch.position * 7)), found, atol=1e-5, rtol=0)


def test_features_of_poses_vary_about_equally():
    """One joint swings and all others rest: the plain coordinates vary in one place only, the poses everywhere."""
    _, batch = batch_of()
    position = torch.zeros_like(batch.position)
    clip = batch.packing.clip
    position[:, 0, 3, 1] = torch.sin((clip + 1) * batch.packing.time * 0.3)
    position[:, 0, 5] = 1.0
    deviation = poses(replace(batch, position=position)).std(dim=0)
    assert (deviation > 0.1 * deviation.mean()).float().mean() > 0.95
    assert deviation.max() < 5 * deviation.mean()


@pytest.mark.parametrize("name", ["gl_transformer", "motion_transformer", "segment_transformer", "stgcn"])
def test_embedding_is_that_of_the_encoder_with_the_poses_behind_it(name):
    form, batch = batch_of()
    encoder = encoder_of(name, form).eval()
    with torch.no_grad():
        found = embed_clips(encoder, batch, "mean+poses")
        torch.testing.assert_close(found, torch.cat([embed_clips(encoder, batch, "mean"), poses(batch)], dim=1))
    assert found.shape[1] == embedding_dim(encoder, "mean+poses")
    with pytest.raises(InputError, match=r"pooling of .*: expected one of .*, found 'middle'"):
        check_pooling(encoder, "middle+poses")


def test_an_encoder_of_one_person_averages_the_poses_of_persons():
    form, batch = batch_of(num_persons=2, encoded=1)
    encoder = encoder_of("gl_transformer", form).eval()
    found = embed_clips(encoder, batch, "mean+poses")[:, encoder.embedding_dim("mean") :]
    alone = [
        poses(replace(batch, position=batch.position[:, p : p + 1], visible=batch.visible[:, p : p + 1]))
        for p in range(2)
    ]
    torch.testing.assert_close(found, torch.stack(alone).mean(dim=0), atol=1e-6, rtol=0)


def test_models_evaluate_fit_and_predict_with_poses(dataset, tmp_path):
    model = model_of(tiny().replace(pooling="mean+poses"), dataset, tmp_path / "model")
    width = embedding_dim(model.encoder, "mean+poses")
    assert model.embed(dataset).shape == (40, width)
    assert model.embed(dataset, pooling="mean").shape == (40, model.encoder.frame_dim)
    model.fit(dataset, split="half")
    assert len(model.predict(dataset)) == 40
    found = evaluate(model, dataset, KNN(), split="half", pooling="blocks+poses", baselines=False)
    assert found.result.key.pooling == "blocks+poses"
    tuned = evaluate(model, dataset, FineTune(epochs=1, steps=2), split="half", seeds=1, baselines=False, save=True)
    assert len(tuned.result.seeds[0].predictions) == 20
    assert (np.isfinite(ulna.load(model.path).embed(dataset))).all()
