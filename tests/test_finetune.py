"""Label subsets; fine-tuning with all labels, with few, on two processes, and interrupted."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ulna
from conftest import SMALL, make_clip, model_of, tiny
from ulna.core import InputError, MissingError
from ulna.dataset import Dataset, label_subset
from ulna.encoders import STGCN, GLTransformer
from ulna.evaluation import EvalResult, LabelledSplit, RunOptions, evaluate
from ulna.evaluation.protocols import FineTune
from ulna.pretext import VICReg
from ulna.training import TrainingStopped
from ulna.training.finetuning import FineTuning, Head
from ulna.training.planned import PlannedModule


def encoder_config(**options):
    return GLTransformer.Config(**{"embed_dim": 4, "num_heads": 2, "depth": 1} | options)


def first_result(protocol, model, data, seed=0):
    return next(protocol.run(model.embedder(data.dataset), data, seeds=[seed], options=RunOptions()))


def test_label_subsets(tmp_path):
    clips = [make_clip(f"c{i}", 4, label="xy"[i % 3 // 2], seed=i, splits={"s": "train"}) for i in range(90)]
    dataset = Dataset.write(tmp_path / "dataset", clips, classes=["x", "y"])
    drawn = label_subset(dataset, "s", 0.1, 7)
    assert not (dataset.path / "subsets").exists(), "written only if asked for"
    assert np.bincount(dataset.labels[drawn]).tolist() == [6, 3], "a tenth of each class"
    file = dataset.path / "subsets" / "s-0.1-seed7.txt"
    assert np.array_equal(label_subset(dataset, "s", 0.1, 7, keep=True), drawn)
    assert file.read_text().split() == sorted(dataset.ids[i] for i in drawn)
    assert np.array_equal(label_subset(dataset, "s", 0.1, 7), drawn)
    file.unlink()
    assert np.array_equal(label_subset(dataset, "s", 0.1, 7), drawn), "drawn again it is the same"
    assert not np.array_equal(label_subset(dataset, "s", 0.1, 8), drawn)
    assert np.bincount(dataset.labels[label_subset(dataset, "s", 0.001, 0)]).tolist() == [1, 1], "at least one of each"
    assert len(label_subset(dataset, "s", 1.0, 0)) == 90
    file.write_text("c1\nnobody\n")
    with pytest.raises(InputError, match=r"found 'nobody'\. Remove the file"):
        label_subset(dataset, "s", 0.1, 7)
    with pytest.raises(InputError, match="share: expected a number above 0 and at most 1"):
        label_subset(dataset, "s", 0.0, 7)


def test_fine_tuning_learns_and_keeps_its_classifier(dataset, tmp_path):
    recipe = tiny(epochs=4).replace(encoder=encoder_config(dropout=0.0, drop_path=0.0))
    model = model_of(recipe, dataset, tmp_path / "model")
    protocol = FineTune(epochs=20, steps=0, batch_size=5, learning_rate=3e-3)
    evaluation = evaluate(model, dataset, protocol, split="half", seeds=1, save=True)
    kinds = [result.key.kind for result in evaluation.results]
    assert kinds == ["trained", "chance", "raw_joints", "random_init"]
    assert [result.key.protocol for result in evaluation.results] == ["finetune", "chance", "raw_joints", "finetune"]
    seed = evaluation.result.seeds[0]
    assert evaluation.result.accuracy > 0.8
    assert seed.curve[-1] == evaluation.result.accuracy
    assert len(seed.curve) == 5, "tested five times"
    test = [dataset.clip(int(i)) for i in dataset.split("half")[1]]
    for one in (model, ulna.load(model.path)):
        named = one.predict(test, classifier="finetune")
        assert [dataset.classes.index(prediction.label) for prediction in named] == seed.predictions
        with pytest.raises(MissingError, match="expected classifier 'finetune-5pct', found classifiers: finetune"):
            one.predict(test, classifier="finetune-5pct")
    assert not list(model.path.glob("*.unfinished"))
    scratch = FineTune(from_scratch=True, epochs=1, steps=0)
    evaluation = evaluate(model, dataset, scratch, split="half", seeds=1)
    assert evaluation.result.key.variant == "scratch"
    kinds = [result.key.kind for result in evaluation.results]
    assert kinds == ["trained", "chance", "raw_joints"], "its own randomly initialised encoder"


def test_a_fine_tuned_encoder_with_batch_norm_is_read_again(dataset, tmp_path):
    recipe = tiny(epochs=1).replace(encoder=STGCN.Config(**SMALL["stgcn"]), pretext=VICReg.Config())
    model = model_of(recipe, dataset, tmp_path / "model")
    evaluate(model, dataset, FineTune(epochs=1), seeds=1, baselines=False, save=True)
    own, again = (m.predict(dataset, classifier="finetune") for m in (model, ulna.load(model.path)))
    assert [(p.label, p.confidence) for p in again] == [(p.label, p.confidence) for p in own]


def test_dropout_leaves_no_trace_in_fine_tuning_that_learns_nothing(dataset, tmp_path):
    """Embeddings under dropout have another mean and spread than those that are tested."""
    recipe = tiny(epochs=1).replace(encoder=encoder_config(depth=2, dropout=0.4), pooling="blocks")
    model = model_of(recipe, dataset, tmp_path / "model")
    still = {"steps": 0, "batch_size": 5, "learning_rate": 1e-12, "time_scale": 0.0, "shear": 0.0}
    data = LabelledSplit.of(dataset, "half")
    result, _ = first_result(FineTune(epochs=20, precision="32-true", **still), model, data)
    assert np.mean(result.predictions == data.test_labels) > 0.8, "as good as the probe that it started with"


def test_fine_tuning_with_few_labels(dataset, model, tmp_path):
    copied = Dataset(shutil.copytree(dataset.path, tmp_path / "dataset", ignore=shutil.ignore_patterns("subsets")))
    protocol = FineTune(share=0.2, epochs=2, steps=3)
    evaluate(model, copied, protocol, split="half", seeds=1, baselines=False)
    assert not (copied.path / "subsets").exists(), "written only if results are saved"
    result = evaluate(model, copied, protocol, split="half", seeds=2, baselines=False, save=True).result
    assert (model.path / "results" / "finetune-20pct-half.json").is_file()
    assert (model.path / "classifiers" / "finetune-20pct.safetensors").is_file()
    assert result.key.variant == "20pct"
    for seed in result.seeds:
        assert len(seed.labelled) == 4
        kept = copied.path / "subsets" / f"half-0.2-seed{seed.seed}.txt"
        assert kept.read_text().split() == seed.labelled
        assert len(seed.curve) == 3, "as many epochs as the steps asked for take"
    assert result.seeds[0].labelled != result.seeds[1].labelled


def test_every_option_of_fine_tuning_is_read(dataset, model):
    data = LabelledSplit.of(dataset, "half")
    plain = {"epochs": 2, "steps": 0, "batch_size": 10, "learning_rate": 1e-2}
    reference = first_result(FineTune(**plain), model, data)[1].weight
    for change in (
        {"share": 0.5}, {"epochs": 3}, {"steps": 5}, {"batch_size": 7}, {"learning_rate": 1e-3}, {"weight_decay": 5.0},
        {"layer_decay": 0.1}, {"warmup": 0.5}, {"label_smoothing": 0.0}, {"time_scale": 0.5}, {"shear": 0.0},
        {"yaw": 0.7}, {"mirror": 0.9}, {"crop": 0.5}, {"rotate": 0.5}, {"precision": "32-true"}, {"probe_epochs": 3},
    ):  # fmt: skip
        assert not torch.allclose(first_result(FineTune(**plain | change), model, data)[1].weight, reference), change


def test_the_number_of_tests_is_that_of_the_curve(dataset, model):
    data = LabelledSplit.of(dataset, "half")
    for tests, epochs in ((1, [4]), (2, [2, 4]), (9, [1, 2, 3, 4])):
        result, _ = first_result(FineTune(epochs=4, steps=0, tests=tests), model, data)
        assert len(result.curve) == len(epochs)
        assert result.oracle_epoch in epochs
        assert result.curve[-1] == np.mean(np.array(result.predictions) == data.test_labels)


def test_layer_decay_by_hand(dataset, model):
    embedder = model.embedder(dataset)
    encoder, data = embedder.encoder, LabelledSplit.of(dataset, "half")
    head = Head(embedder.dim, len(dataset.classes))
    options = FineTune(layer_decay=0.5)._options()
    optimizer = FineTuning(embedder, head, dataset, data.train, data.test, options, 0).configure_optimizers()
    num_groups = len(encoder.layer_groups())
    assert [group["rate"] for group in optimizer.param_groups] == [0.5**d for d in range(num_groups, -1, -1)]
    own = [p for group in optimizer.param_groups[:-1] for p in group["params"]]
    assert {id(p) for p in own} == {id(p) for p in encoder.parameters()}, "layer groups are all of the encoder"
    assert {id(p) for p in optimizer.param_groups[-1]["params"]} == {id(p) for p in head.parameters()}


@pytest.fixture(scope="module")
def learnt(dataset, tmp_path_factory):
    """A model whose fine-tuning learns the classes, with dropout in the attention."""
    recipe = tiny(epochs=4).replace(encoder=encoder_config(dropout=0.0, drop_path=0.0))
    return model_of(recipe, dataset, tmp_path_factory.mktemp("models") / "learnt")


INTERRUPTED = FineTune(epochs=20, steps=0, batch_size=6, learning_rate=3e-3)  # 4 steps per epoch


def interrupt_at(seed, step, monkeypatch, interruption):
    """Interrupt fine-tuning at a step of one of the seeds."""
    whole = PlannedModule.training_step

    def interrupted(self, batch, batch_idx):
        if (self.plan.seed, self.global_step) == (seed, step):
            interruption()
        return whole(self, batch, batch_idx)

    monkeypatch.setattr(PlannedModule, "training_step", interrupted)


def cut_power():
    raise RuntimeError("power cut")


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def copy_of(model, path):
    """The model in a folder of its own, without results."""
    ignored = shutil.ignore_patterns("results", "classifiers", "*.unfinished")
    return ulna.load(shutil.copytree(model.path, path / "model", ignore=ignored), device="cpu")


def evaluate_saved(model, dataset, protocol=INTERRUPTED, *, seeds=2, **options):
    options |= {"split": "half", "seeds": seeds, "baselines": False, "save": True}
    return evaluate(model, dataset, protocol, **options).result


def files_of(model):
    return sorted(str(file.relative_to(model.path)) for file in model.path.rglob("*") if file.is_file())


def assert_same_files(one, other):
    """Both models have the same files, among them the same predictions and the same classifiers."""
    files = files_of(one)
    assert files == files_of(other)
    results = [file for file in files if file.startswith("results/")]
    names = [file for file in files if file.startswith("classifiers/")]
    assert results
    assert names
    for file in results:
        first, second = (EvalResult.open(model.path / file) for model in (one, other))
        assert first.key == second.key
        assert first.seeds == second.seeds
    for file in names:
        first, second = (load_file(model.path / file) for model in (one, other))
        assert first.keys() == second.keys()
        different = {n: float((v - second[n]).abs().max()) for n, v in first.items() if not torch.equal(v, second[n])}
        assert not different


@pytest.fixture(scope="module")
def uninterrupted(dataset, learnt, tmp_path_factory):
    model = copy_of(learnt, tmp_path_factory.mktemp("uninterrupted"))
    for seed in evaluate_saved(model, dataset).seeds:
        assert 0.8 <= seed.curve[-1] < 1
        assert len(seed.curve) == 5
    return model


@pytest.mark.parametrize(
    ("seed", "step", "interruption", "saved"),
    [
        pytest.param(0, 50, cut_power, 40, id="failure of the first seed"),
        pytest.param(1, 50, cut_power, 40, id="failure of the second seed"),
        pytest.param(0, 14, terminate, 15, id="SIGTERM in an epoch of the first seed"),
        pytest.param(1, 13, terminate, 14, id="SIGTERM in an epoch of the second seed"),
        pytest.param(0, 47, terminate, 48, id="SIGTERM in the last step of an epoch that is tested"),
        pytest.param(0, 51, terminate, 52, id="SIGTERM in the last step of an epoch that is not tested"),
    ],
)
def test_an_interrupted_evaluation_continues(
    dataset, learnt, uninterrupted, tmp_path, monkeypatch, seed, step, interruption, saved
):
    """Ends with the same predictions, curve and classifier, and leaves no checkpoints behind."""
    model = copy_of(learnt, tmp_path)
    interrupt_at(seed, step, monkeypatch, interruption)
    with pytest.raises(TrainingStopped if interruption is terminate else RuntimeError, match=r"power cut|SIGTERM"):
        evaluate_saved(model, dataset)
    monkeypatch.undo()
    assert not (model.path / "results").exists()
    (checkpoint,) = model.path.glob(f"finetuning.unfinished/*/seed{seed}/checkpoints/last.ckpt")
    assert torch.load(checkpoint, weights_only=True)["global_step"] == saved

    steps = []
    whole = PlannedModule.training_step

    def count(self, batch, batch_idx):
        steps.append((self.plan.seed, self.global_step))
        return whole(self, batch, batch_idx)

    monkeypatch.setattr(PlannedModule, "training_step", count)
    evaluate_saved(model, dataset)
    assert steps == [(s, i) for s in (0, 1) for i in range(saved if s == seed else 0, 80) if s >= seed]
    assert_same_files(model, uninterrupted)


@pytest.mark.parametrize(
    ("changed", "options"), [({"learning_rate": 1e-2}, {}), ({"epochs": 15}, {}), ({}, {"pooling": "blocks"})], ids=str
)
def test_an_evaluation_with_other_options_does_not_continue_an_interrupted_one(
    dataset, learnt, tmp_path, monkeypatch, changed, options
):
    model, other = copy_of(learnt, tmp_path / "interrupted"), copy_of(learnt, tmp_path / "other")
    interrupt_at(0, 50, monkeypatch, cut_power)
    with pytest.raises(RuntimeError, match="power cut"):
        evaluate_saved(model, dataset, seeds=1)
    monkeypatch.undo()
    for one in (model, other):
        evaluate_saved(one, dataset, INTERRUPTED.replace(**changed), seeds=1, **options)
        shutil.rmtree(one.path / "finetuning.unfinished", ignore_errors=True)
    assert_same_files(model, other)


def test_nothing_is_written_unless_asked_for(dataset, learnt, tmp_path, monkeypatch):
    model = copy_of(learnt, tmp_path)
    before = files_of(model)
    interrupt_at(0, 50, monkeypatch, cut_power)
    with pytest.raises(RuntimeError, match="power cut"):
        evaluate(model, dataset, INTERRUPTED, split="half", seeds=1, baselines=False)
    monkeypatch.undo()
    evaluate(model, dataset, FineTune(epochs=1, steps=0), split="half", seeds=1)
    assert files_of(model) == before


# Sends SIGTERM to the command in a step.
TERMINATED = """
import os, signal
from ulna.training.planned import PlannedModule
step = PlannedModule.training_step
def terminated(self, batch, batch_idx):
    if self.global_step == 9:
        os.kill(os.getpid(), signal.SIGTERM)
    return step(self, batch, batch_idx)
PlannedModule.training_step = terminated
"""


def command(model, dataset, *options, before=""):
    """Run `ulna evaluate` in a process of its own."""
    words = ["evaluate", model.path, "--data", dataset.path, "--protocol", "finetune", "--split", "half"]
    words += ["--seeds", "2", "--no-baselines", "--device", "cpu", "--steps", "0", *options]
    start = "import sys; sys.argv[0] = 'ulna'; from ulna.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, *(["-c", before + start] if before else ["-m", "ulna"]), *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        _, process.errors = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process


def test_the_command_stops_at_sigterm_and_continues(dataset, learnt, uninterrupted, tmp_path):
    model = copy_of(learnt, tmp_path)
    options = ["--epochs", "20", "--batch-size", "6", "--learning-rate", "3e-3"]
    process = command(model, dataset, *options, before=TERMINATED)
    assert "stopped by SIGTERM after step 10" in process.errors
    assert "Traceback" not in process.errors
    assert process.returncode == 128 + signal.SIGTERM
    process = command(model, dataset, *options)
    assert process.returncode == 0, process.errors
    assert_same_files(model, uninterrupted)


@pytest.mark.parametrize("num", [2, 3])
def test_several_processes_take_the_same_steps(dataset, tmp_path, num):
    """The global batch is the same; a small last batch leaves a process without clips."""
    batch_size = 21 - num
    assert len(dataset.split("half")[0]) % batch_size == num - 1
    recipe = tiny(epochs=1).replace(encoder=encoder_config(dropout=0.0, attention_dropout=0.0, drop_path=0.0))
    model = model_of(recipe, dataset, tmp_path / "model")
    trained = []
    for name, devices in (("one", ()), ("several", ("--devices", str(num), "--strategy", "ddp"))):
        own = copy_of(model, tmp_path / name)
        process = command(
            own, dataset, "--epochs", "5", "--batch-size", str(batch_size), "--precision", "32-true", *devices
        )
        assert process.returncode == 0, process.errors
        trained.append(ulna.load(own.path))
    before = model.embed(dataset)
    one, several = (embed_finetuned(own, dataset) for own in trained)
    assert np.abs(one - before).max() > 0.1
    np.testing.assert_allclose(several, one, atol=1e-3, rtol=0)
    one, several = ([p.probabilities for p in own.predict(dataset, classifier="finetune")] for own in trained)
    np.testing.assert_allclose(several, one, atol=1e-3, rtol=0)
    one, several = (EvalResult.open(own.path / "results" / "finetune-half.json") for own in trained)
    assert [seed.predictions for seed in several.seeds] == [seed.predictions for seed in one.seeds]


def embed_finetuned(model, dataset):
    """Embeddings of the fine-tuned encoder of a model's classifier."""
    encoder = model.encoder_of(model.classifier("finetune"))
    return (
        replace(model.embedder(dataset), encoder=encoder).embed_dataset(dataset, np.arange(dataset.num_clips)).numpy()
    )
