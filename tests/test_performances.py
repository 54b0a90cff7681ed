"""Clips of one performance: their numbers, batches and pairs; and training that starts from a model."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import CLASSES, SMALL_TASKS, encoder_of, make_clip, model_of, pretext_of, tiny
from ulna.batch import Augmentation, Batch, BatchPlan
from ulna.core import InputError, get_skeleton
from ulna.dataset import Dataset
from ulna.dataset.performances import number_performances
from ulna.models.folder import SEEN
from ulna.preprocessing import Disentangled
from ulna.pretext import MPDP, VICReg, WeightedSum
from ulna.pretext.views import next_of_performance

CAMERA = r"(.*)_v[0-9]"


@pytest.fixture(scope="module")
def cameras(tmp_path_factory):
    """Twelve performances, ten of them by two cameras; the second camera sees them with another noise."""
    clips = []
    for number in range(12):
        for view in (1, 2) if number < 10 else (1,):
            splits = {"half": "train" if number % 6 else "test"}
            name = f"p{number:02d}_v{view}"
            clips.append(make_clip(name, 6 + number, label=CLASSES[number % 2], seed=number, splits=splits))
    return Dataset.write(tmp_path_factory.mktemp("data") / "cameras", clips, classes=CLASSES)


def pairing(epochs=1):
    tasks = (MPDP.Config(intervals=(1, 3)), VICReg.Config(**SMALL_TASKS["vicreg"]))
    return tiny(epochs).replace(pretext=WeightedSum.Config(tasks=tasks), performances=CAMERA)


def test_numbers_of_performances():
    ids = ["a_v1", "b_v1", "a_v2", "other", "a_v12"]
    assert number_performances(ids, CAMERA).tolist() == [0, 1, 0, 2, 3]
    assert number_performances(["S1C1P2", "S1C2P2", "S1C1P3"], "(S.)C.(P.)").tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(.*", "expected a regular expression, found '(.*'"),
        (".*", "expected a group in parentheses, found none"),
        ("(.*)_w[0-9]", "expected several clips of one performance, found none .* Names of clips look like 'a_v1'"),
    ],
)
def test_patterns_that_find_nothing(pattern, message):
    with pytest.raises(InputError, match=message.replace("(.*'", r"\(\.\*'")):
        number_performances(["a_v1", "a_v2"], pattern)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 8), st.integers(0, 3))
def test_a_plan_keeps_performances_together(performance, batch_size, seed):
    plan = BatchPlan(len(performance), batch_size, seed, tuple(performance))
    order = np.concatenate([plan.clips(step) for step in range(plan.steps_per_epoch)])
    assert sorted(order) == list(range(len(performance)))
    shown = np.array(performance)[order]
    assert (shown[1:] != shown[:-1]).sum() + 1 == len(set(performance)), "clips of a performance follow one another"


def test_a_plan_without_performances_is_unchanged():
    single = BatchPlan(9, 4, 1, tuple(range(9)))
    assert all((single.clips(step) == BatchPlan(9, 4, 1).clips(step)).all() for step in range(6))


@given(st.lists(st.integers(0, 4), max_size=20))
def test_the_next_clip_of_a_performance(performance):
    following = next_of_performance(torch.tensor(performance, dtype=torch.long)).tolist()
    for clip, number in enumerate(performance):
        same = [other for other, its in enumerate(performance) if its == number]
        assert following[clip] == same[(same.index(clip) + 1) % len(same)]


def test_vicreg_compares_clips_of_one_performance():
    preprocessor = Disentangled(Disentangled.Config(max_frames=12), get_skeleton("kinect_v1"), 1)
    clips = [make_clip(f"c{i}", n, seed=i) for i, n in enumerate((5, 9, 7, 12))]
    still = Augmentation(time_scale=0.0, shear=0.0)
    task = pretext_of("vicreg", encoder_of("motion_transformer", preprocessor), view=still).eval()
    batch = preprocessor(Batch.from_clips(clips))
    assert batch.performance is None
    batch = replace(batch, performance=np.array([7, 3, 7, 3]))
    embedding = task.encoder.embed(batch)
    expected = task._loss(embedding, embedding[[2, 3, 0, 1]])
    torch.testing.assert_close(task.losses(batch)["vicreg"], expected.expand(4))


def test_pairs_change_the_training(cameras, tmp_path):
    paired = model_of(pairing(), cameras, tmp_path / "paired")
    again = model_of(pairing(), cameras, tmp_path / "again")
    single = model_of(pairing().replace(performances=None), cameras, tmp_path / "single")
    weights = [model.encoder.state_dict() for model in (paired, again, single)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_tasks_that_pair_nothing_refuse_performances(cameras, tmp_path):
    with pytest.raises(InputError, match="expected no `performances`, since MPDP does not pair clips"):
        model_of(tiny().replace(performances=CAMERA), cameras, tmp_path / "model")


def test_training_starts_from_a_model(cameras, tmp_path):
    first = model_of(tiny(), cameras, tmp_path / "first")
    still = pairing().replace(training=tiny(1).training.replace(learning_rate=1e-12, weight_decay=0))
    second = model_of(still, cameras, tmp_path / "second", start=tmp_path / "first")
    for name, value in first.encoder.state_dict().items():
        torch.testing.assert_close(second.encoder.state_dict()[name], value, atol=1e-6, rtol=0)
    start = second.config.start
    assert (start.recipe, start.fingerprint) == ("tiny", cameras.fingerprint)
    assert second.config.total_seconds == pytest.approx(first.config.training_seconds + second.config.training_seconds)
    assert "started from | tiny" in (tmp_path / "second" / "README.md").read_text()


def test_clips_of_the_starting_point_count_as_seen(cameras, dataset, tmp_path):
    model_of(tiny(), dataset, tmp_path / "first")
    model = model_of(tiny(), cameras, tmp_path / "second", start=tmp_path / "first")
    seen = pq.read_table(tmp_path / "second" / SEEN)["id"].to_pylist()
    assert {name[:4] for name in seen} == {"clip"} | {f"p{number:02d}_" for number in range(12) if number % 6}
    assert model.count_seen(dataset, dataset.split("half")[0]) == len(dataset.split("half")[0])


def test_a_damaged_list_of_seen_clips_stops_before_the_first_step(cameras, dataset, tmp_path):
    model_of(tiny(), dataset, tmp_path / "first")
    (tmp_path / "first" / SEEN).write_bytes(b"PAR1 damaged")
    with pytest.raises(InputError, match="expected ids and hashes of clips, found a damaged file"):
        model_of(tiny(), cameras, tmp_path / "second", start=tmp_path / "first")
    assert [own.name for own in tmp_path.glob("second*")] == []


def test_a_run_resumes_with_its_starting_point_only(cameras, tmp_path):
    model_of(tiny(), cameras, tmp_path / "first")
    model_of(tiny().with_seed(1), cameras, tmp_path / "other")
    done = model_of(tiny(), cameras, tmp_path / "second", start=tmp_path / "first")
    (tmp_path / "second").rename(tmp_path / "second.unfinished")
    with pytest.raises(InputError, match="expected the start that the run was started with, found another"):
        model_of(tiny(), cameras, tmp_path / "second", start=tmp_path / "other", resume=True)
    resumed = model_of(tiny(), cameras, tmp_path / "second", start=tmp_path / "first", resume=True)
    assert resumed.config.start == done.config.start


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"preprocessor": Disentangled.Config(max_frames=17)}, "preprocessor"),
        ({"encoder": tiny().encoder.replace(depth=2)}, "encoder"),
    ],
)
def test_models_that_do_not_fit_are_no_starting_points(cameras, tmp_path, change, what):
    model_of(tiny(), cameras, tmp_path / "first")
    with pytest.raises(InputError, match=f"expected the {what} of the recipe and the dataset in the model"):
        model_of(tiny().replace(**change), cameras, tmp_path / "second", start=tmp_path / "first")


def test_the_command_starts_from_a_model(cameras, tmp_path, command):
    recipe = ["motion_transformer/sample", "--data", cameras.path, "--split", "half", "--training.epochs", 1]
    assert command("pretrain", *recipe, "--out", tmp_path / "first")[0] == 0
    assert command("pretrain", *recipe, "--out", tmp_path / "second", "--start", tmp_path / "first")[0] == 0
    code, out, _ = command("info", tmp_path / "second")
    assert code == 0
    assert "started from motion_transformer/sample" in out
    code, _, err = command("pretrain", *recipe, "--out", tmp_path / "third", "--start", tmp_path / "nowhere")
    assert code == 2
    assert "expected a model" in err
    assert not (tmp_path / "third").exists()
