"""What every row of every table must do."""

import inspect
from dataclasses import replace

import pytest
import torch

from conftest import make_clip, run_of, tiny
from ulna.cli import COMMANDS
from ulna.core import Options, NodeLayout, build, get_skeleton, options
from ulna.data import Batch
from ulna.encoders import ENCODERS, Encoder
from ulna.preprocessing import PREPROCESSORS, Preprocessor
from ulna.pretext import PRETEXTS, Pretext
from ulna.evaluation import PROTOCOLS, Labelled, Protocol
from ulna.formats import FORMATS, Format
from ulna.recipes import RECIPES

TABLES = [FORMATS, PREPROCESSORS, ENCODERS, PRETEXTS, PROTOCOLS, RECIPES, COMMANDS]
QUICK = {name: {"epochs": 1, "steps": 0} for name in ("few-labels", "finetune", "scratch")}
SMALL = {
    "gl_transformer": {"width": 8, "num_heads": 2, "num_blocks": 1},
    "motion_transformer": {"width": 32, "num_heads": 2, "num_blocks": 1},
    "h_transformer": {"width": 64},
    "segment_transformer": {"width": 32, "num_heads": 2, "num_blocks": 2},
}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
def test_rows_resolve_and_explain_themselves(table):
    for name, row in table.items():
        assert inspect.getdoc(row) or table is COMMANDS, f"{table.kind} {name} has no docstring"


@pytest.mark.parametrize(
    ("table", "base"),
    [(FORMATS, Format), (PREPROCESSORS, Preprocessor), (ENCODERS, Encoder), (PRETEXTS, Pretext), (PROTOCOLS, Protocol)],
)
def test_classes_are_final_and_one_level_deep(table, base):
    for row in table.values():
        row = getattr(row, "func", row)  # a row may be a class with other defaults
        assert issubclass(row, base)
        assert row.__subclasses__() == []


@pytest.mark.parametrize("table", [PREPROCESSORS, ENCODERS, PRETEXTS, PROTOCOLS], ids=lambda table: table.kind)
def test_options_have_defaults_and_go_to_json(table):
    for name in table:
        chosen = options(table, name)
        assert isinstance(chosen, Options)
        assert chosen.to_json()["name"] == name


def clips(num_persons=2):
    return [make_clip(f"c{i}", n, num_persons=num_persons, seed=i) for i, n in enumerate([5, 9, 1, 12])]


def encoder_of(name, form, skeleton="kinect_v1", num_persons=2):
    torch.manual_seed(0)
    chosen = options(ENCODERS, name, **SMALL[name])
    return build(ENCODERS, chosen, form.layout(get_skeleton(skeleton)), num_persons, form.max_frames)


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_forms_take_each_clip_by_itself(name):
    form = build(PREPROCESSORS, options(PREPROCESSORS, name, max_frames=12))
    together = form(Batch.from_clips(clips()))
    assert together.layout == form.layout(get_skeleton("kinect_v1"))
    alone = [form(Batch.from_clips([clip])).position for clip in clips()]
    torch.testing.assert_close(together.position, torch.cat(alone))


@pytest.mark.parametrize("skeleton", ["kinect_v2", "kinect_v1", "sbu", "cmu_body"])
@pytest.mark.parametrize("num_persons", [1, 2, 3])
@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_take_any_skeleton_and_number_of_persons(name, num_persons, skeleton):
    form = build(PREPROCESSORS, options(PREPROCESSORS, "disentangled", max_frames=12))
    encoder = encoder_of(name, form, skeleton, num_persons).eval()
    batch = form(Batch.from_clips([make_clip("a", 4, skeleton=skeleton, num_persons=num_persons)]))
    assert encoder.embed(batch).shape == (1, encoder.embedding_width)


@pytest.mark.parametrize("name", ENCODERS)
def test_packed_is_clip_by_clip(name):
    form = build(PREPROCESSORS, options(PREPROCESSORS, "disentangled", max_frames=12))
    encoder = encoder_of(name, form).eval()
    together = encoder.embed(form(Batch.from_clips(clips())))
    alone = torch.cat([encoder.embed(form(Batch.from_clips([clip]))) for clip in clips()])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_refuse_another_form(name):
    form = build(PREPROCESSORS, options(PREPROCESSORS, "disentangled", max_frames=12))
    with pytest.raises(ValueError, match="apply the input form that it was trained with"):
        encoder_of(name, form).embed(Batch.from_clips(clips()))


PAIRS = [(name, task) for name in ENCODERS for task in PRETEXTS if issubclass(ENCODERS[name], PRETEXTS[task].takes)]


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_every_task_trains_every_encoder_it_takes(name, task):
    form = build(PREPROCESSORS, options(PREPROCESSORS, "disentangled", max_frames=12))
    encoder = encoder_of(name, form)
    pretext = build(PRETEXTS, options(PRETEXTS, task), encoder)
    batch = form(Batch.from_clips(clips()))
    optimizer = torch.optim.AdamW(pretext.parameters(), 3e-3)
    history = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = pretext.loss(batch)
        loss.backward()
        optimizer.step()
        pretext.on_step_end()
        history.append(loss.item())
    assert history[-1] < 0.9 * history[0]
    learning = [(name, p) for name, p in pretext.named_parameters() if p.requires_grad]
    untouched = [name for name, p in learning if p.grad is None or not p.grad.any()]
    assert not untouched, "gradients reach every parameter"


@pytest.mark.parametrize("task", PRETEXTS)
def test_tasks_refuse_encoders_they_cannot_train(task):
    class Plain(Encoder):
        layout, num_persons = NodeLayout(("a",)), 1
        embedding_width = 4

        def embed(self, batch):
            return torch.zeros(batch.num_clips, 4)

    with pytest.raises(ValueError, match=rf"{PRETEXTS[task].takes.gives}, got Plain, which gives one vector a clip"):
        PRETEXTS[task](Plain())


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_is_fine_tuned(name, dataset, tmp_path):
    """All layer_groups, each with its learning rate, on top of what a task that takes it has pretrained."""
    task = next(task for task in PRETEXTS if issubclass(ENCODERS[name], PRETEXTS[task].takes))
    recipe = replace(tiny(epochs=1), encoder=options(ENCODERS, name, **SMALL[name]), pretext=options(PRETEXTS, task))
    run = run_of(recipe, dataset, tmp_path / "run")
    layer_groups = [id(p) for stage in run.encoder.layer_groups() for module in stage for p in module.parameters()]
    assert set(layer_groups) == {id(p) for p in run.encoder.parameters()}
    protocol = build(PROTOCOLS, options(PROTOCOLS, "finetune", epochs=1, steps=0, probe_epochs=1))
    data = Labelled.of(dataset, "half")
    (result, classifier), *_ = protocol.run(run.encoder, protocol.form_for(run, dataset), data, seeds=[0])
    assert len(result.predictions) == len(data.test)
    moved = [key for key, value in run.encoder.state_dict().items() if not torch.equal(value, classifier.encoder[key])]
    assert len(moved) > len(layer_groups) / 2


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_repeat_and_leave_the_encoder_as_it_was(name, dataset, tmp_path):
    run = run_of(tiny(epochs=1), dataset, tmp_path / "run")
    protocol, data = build(PROTOCOLS, options(PROTOCOLS, name, **QUICK.get(name, {}))), Labelled.of(dataset, "half")
    run.encoder.train()
    before = {name: value.clone() for name, value in run.encoder.state_dict().items()}
    form = protocol.form_for(run, dataset)
    results = [next(protocol.run(run.encoder, form, data, seeds=[3]))[0] for _ in range(2)]
    assert results[0] == results[1]
    assert all(torch.equal(value, before[name]) for name, value in run.encoder.state_dict().items())
    assert results[0].seed == 3
    assert len(results[0].predictions) == len(data.test)
    assert run.encoder.training
