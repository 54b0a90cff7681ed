"""What every row of every table must do."""

import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import encoder_of, make_clip, model_of, pretext_of, tiny
from ulna.batch import PADDED, Batch
from ulna.cli import COMMANDS
from ulna.core import Config, InputError, NodeLayout, get_skeleton, named, parse_named
from ulna.encoders import ENCODERS, Encoder
from ulna.evaluation import PROTOCOLS, LabelledSplit, Protocol, RunOptions
from ulna.evaluation.protocols import FineTune
from ulna.formats import FORMATS, Format
from ulna.preprocessing import PREPROCESSORS, InputSpec, Preprocessor
from ulna.pretext import PRETEXTS, Pretext
from ulna.recipes import RECIPES

TABLES = [FORMATS, PREPROCESSORS, ENCODERS, PRETEXTS, PROTOCOLS]
BASES = {"format": Format, "preprocessor": Preprocessor, "encoder": Encoder, "pretext task": Pretext}
BASES["protocol"] = Protocol
KINECT_V1 = get_skeleton("kinect_v1")


def preprocessor_of(name, skeleton=KINECT_V1, num_persons=2, **options):
    cls = PREPROCESSORS[name]
    return cls(cls.Config(max_frames=12, **options), skeleton, num_persons)


def clips(num_persons=2):
    return [make_clip(f"c{i}", n, num_persons=num_persons, seed=i) for i, n in enumerate([5, 9, 1, 12])]


ROWS = [(table, name) for table in TABLES for name in table]


@pytest.mark.parametrize(("table", "name"), ROWS, ids=lambda value: getattr(value, "kind", value))
def test_rows_have_their_own_docstring_and_documented_options(table, name):
    row = table[name]
    assert (row.__doc__ or "").strip(), f"{table.kind} {name}: no docstring of its own"
    assert row.__doc__ != BASES[table.kind].__doc__
    config = table.config(name)
    assert issubclass(config, Config)
    undocumented = [field for field, info in config.model_fields.items() if not info.description]
    assert not undocumented, f"{table.kind} {name}: options without documentation"


@pytest.mark.parametrize(("table", "name"), ROWS, ids=lambda value: getattr(value, "kind", value))
def test_rows_are_final_classes_with_one_public_base(table, name):
    row = table[name]
    base = BASES[table.kind]
    assert issubclass(row, base)
    assert not inspect.isabstract(row)
    assert row.__subclasses__() == []
    between = [cls for cls in row.__mro__[1:] if issubclass(cls, base) and cls is not base]
    assert len(between) <= 2, f"{name} inherits through {[cls.__name__ for cls in between]}"
    assert all(inspect.isabstract(cls) for cls in between), "only abstract classes are inherited from"


@pytest.mark.parametrize(("table", "name"), ROWS, ids=lambda value: getattr(value, "kind", value))
def test_options_have_defaults_and_go_through_json(table, name):
    config = table.config(name)()
    values = named(table, config)
    assert values["name"] == name
    assert parse_named(table, values) == config


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_describe_themselves_and_go_through_json(name):
    recipe = RECIPES[name]()
    assert recipe.name == name
    assert (RECIPES[name].__doc__ or "").strip()
    assert type(recipe).from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_have_a_module_each(name):
    assert COMMANDS[name].__module__ == f"ulna.cli.{name}"


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_preprocessors_take_each_clip_by_itself(name):
    preprocessor = preprocessor_of(name)
    together = preprocessor(Batch.from_clips(clips()))
    assert together.layout == preprocessor.spec.layout
    assert together.packing.lengths.max() <= preprocessor.spec.max_frames
    alone = [preprocessor(Batch.from_clips([clip])).position for clip in clips()]
    torch.testing.assert_close(together.position, torch.cat(alone))


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_preprocessors_add_missing_persons_and_refuse_more(name):
    one = preprocessor_of(name, num_persons=3)(Batch.from_clips(clips(num_persons=2)))
    assert one.num_persons == 3
    assert not one.visible[:, 2].any()
    with pytest.raises(InputError, match="expected at most 1 persons per clip, found 2"):
        preprocessor_of(name, num_persons=1)(Batch.from_clips(clips(num_persons=2)))


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_preprocessors_match_joints_of_other_skeletons_only_if_asked_to(name):
    other = Batch.from_clips([make_clip("a", 9, skeleton="cmu_body")])
    preprocessor = preprocessor_of(name)
    with pytest.raises(InputError, match=r"expected skeleton 'kinect_v1' .*Match joints"):
        preprocessor(other)
    batch = preprocessor.matching()(other)
    assert batch.preprocessor == preprocessor.identity
    assert preprocessor.missing_joints(get_skeleton("cmu_body")) == ["left_wrist", "right_wrist"] or batch.visible.any()


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_preprocessors_resample_to_a_frame_rate(name):
    slow = replace(make_clip("a", 10), fps=15.0)
    batch = preprocessor_of(name, frame_rate=30.0)(Batch.from_clips([slow]))
    expected = preprocessor_of(name, frame_rate=30.0)(Batch.from_clips([replace(slow, fps=30.0)]))
    if name == "shifted":  # every clip has one length
        assert batch.lengths == expected.lengths
    else:
        assert batch.lengths == [12]
        assert expected.lengths == [10]


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_preprocessed_batches_are_not_preprocessed_again(name):
    preprocessor = preprocessor_of(name)
    with pytest.raises(InputError, match="expected raw positions, found a batch preprocessed by"):
        preprocessor(preprocessor(Batch.from_clips(clips())))


@pytest.mark.parametrize("encoder_name", ENCODERS)
@pytest.mark.parametrize("name", PREPROCESSORS)
def test_encoders_refuse_batches_of_any_other_preprocessor(name, encoder_name):
    own = preprocessor_of(name)
    encoder = encoder_of(encoder_name, own).eval()
    encoder.embed(own(Batch.from_clips(clips())))
    with pytest.raises(InputError, match=r"found raw positions\. Apply the preprocessor the encoder was trained with"):
        encoder.embed(Batch.from_clips(clips()))
    others = [preprocessor_of(other) for other in PREPROCESSORS if other != name]
    others.append(preprocessor_of(name, frame_rate=10.0))
    for other in others:
        with pytest.raises(InputError, match=rf"expected a batch made by {own.identity}, found one made by"):
            encoder.embed(other(Batch.from_clips(clips())))
    padded = replace(own(Batch.from_clips(clips())), preprocessor=PADDED)
    with pytest.raises(InputError, match="found one made by padded"):
        encoder.embed(padded)


@pytest.mark.parametrize("skeleton", ["kinect_v2", "kinect_v1", "sbu", "cmu_body"])
@pytest.mark.parametrize("num_persons", [1, 2, 3])
@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_take_any_skeleton_number_of_persons_and_pooling(name, num_persons, skeleton):
    preprocessor = preprocessor_of("disentangled", get_skeleton(skeleton), num_persons)
    encoder = encoder_of(name, preprocessor).eval()
    batch = preprocessor(Batch.from_clips([make_clip("a", 4, skeleton=skeleton, num_persons=num_persons)]))
    for pooling in encoder.poolings:
        assert encoder.embed(batch, pooling).shape == (1, encoder.embedding_dim(pooling))
    with pytest.raises(InputError, match=r"pooling of .*: expected one of 'mean'.*, found 'max'"):
        encoder.embed(batch, "max")


@pytest.mark.parametrize("name", ENCODERS)
def test_packed_is_clip_by_clip(name):
    preprocessor = preprocessor_of("disentangled")
    encoder = encoder_of(name, preprocessor).eval()
    for pooling in encoder.poolings:
        together = encoder.embed(preprocessor(Batch.from_clips(clips())), pooling)
        alone = torch.cat([encoder.embed(preprocessor(Batch.from_clips([clip])), pooling) for clip in clips()])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


PAIRS = [(name, task) for name in ENCODERS for task in PRETEXTS if issubclass(ENCODERS[name], PRETEXTS[task].takes)]


# Their losses are relative to a teacher or to a queue that fills, or fall slowly.
MOVING_TARGETS = ("momentum_contrast", "feature_prediction", "vicreg", "weighted_sum")


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_every_task_trains_every_encoder_it_takes(name, task):
    preprocessor = preprocessor_of("disentangled")
    pretext = pretext_of(task, encoder_of(name, preprocessor))
    batch = preprocessor(Batch.from_clips(clips()))
    optimizer = torch.optim.AdamW(pretext.parameters(), 3e-3)
    history = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = pretext.loss(batch)
        loss.backward()
        optimizer.step()
        pretext.on_step_end()
        history.append(loss.item())
    assert history[-1] < 0.9 * history[0] or task in MOVING_TARGETS
    learning = [(name, p) for name, p in pretext.named_parameters() if p.requires_grad and "mask_token" not in name]
    untouched = [name for name, p in learning if p.grad is None or not p.grad.any()]
    assert not untouched, "gradients reach every parameter"


@pytest.mark.parametrize("task", [task for task in PRETEXTS if PRETEXTS[task].takes is not Encoder])
def test_tasks_refuse_encoders_they_cannot_train(task):
    class Plain(Encoder):
        def embedding_dim(self, pooling="mean"):
            return 4

        def embed(self, batch, pooling="mean"):
            return torch.zeros(batch.num_clips, 4)

    plain = Plain(Encoder.Config(), InputSpec(NodeLayout(("a",)), 1, 4))
    with pytest.raises(InputError, match=rf"{PRETEXTS[task].takes.output}, found Plain with one vector per clip"):
        pretext_of(task, plain)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_is_fine_tuned(name, dataset, tmp_path):
    """All layer groups, each with its learning rate, on top of what a task that takes the encoder has pretrained."""
    task = next(task for task in PRETEXTS if issubclass(ENCODERS[name], PRETEXTS[task].takes))
    preprocessor = preprocessor_of("disentangled", num_persons=1)
    small = encoder_of(name, preprocessor).config
    recipe = tiny(epochs=1).replace(encoder=small, pretext=PRETEXTS[task].Config())
    model = model_of(recipe, dataset, tmp_path / "model")
    groups = [id(p) for group in model.encoder.layer_groups() for module in group for p in module.parameters()]
    assert set(groups) == {id(p) for p in model.encoder.parameters()}
    protocol = FineTune(epochs=1, steps=0, probe_epochs=1)
    data = LabelledSplit.of(dataset, "half")
    (result, classifier), *_ = protocol.run(model.embedder(dataset), data, seeds=[0], options=RunOptions())
    assert len(result.predictions) == len(data.test)
    before = model.encoder.state_dict()
    moved = [key for key, value in before.items() if not torch.equal(value, classifier.encoder[key])]
    assert len(moved) > len(before) / 2


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_repeat_and_leave_the_encoder_unchanged(name, dataset, tmp_path):
    model = model_of(tiny(epochs=1), dataset, tmp_path / "model")
    quick = {"epochs": 1, "steps": 0} if name == "finetune" else {}
    protocol, data = PROTOCOLS[name](**quick), LabelledSplit.of(dataset, "half")
    model.encoder.train()
    before = {key: value.clone() for key, value in model.encoder.state_dict().items()}
    embedder = model.embedder(dataset)
    results = [next(protocol.run(embedder, data, seeds=[3], options=RunOptions()))[0] for _ in range(2)]
    assert results[0] == results[1]
    assert all(torch.equal(value, before[key]) for key, value in model.encoder.state_dict().items())
    assert results[0].seed == 3
    assert len(results[0].predictions) == len(data.test)
    assert model.encoder.training


@pytest.mark.parametrize("name", FORMATS)
def test_formats_refuse_missing_and_empty_folders(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: expected a folder with .*, found nothing"):
        FORMATS[name]().open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found none"):
        FORMATS[name]().open(tmp_path / "empty")
    assert Path(FORMATS[name].pattern).name == FORMATS[name].pattern
    assert FORMATS[name].title
    assert FORMATS[name].files_wanted
