"""The front door: `import ulna` is light, typed and documented, and its examples run as written."""

import dataclasses
import inspect
import re
import subprocess
import sys
import typing
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

import ulna
from ulna.core import Config
from ulna.dataset.sample import cmu_clips
from ulna.encoders.pooling import embedding_dim

ROOT = Path(__file__).parent.parent
CLASSES = [name for name in ulna.__all__ if inspect.isclass(getattr(ulna, name))]
FUNCTIONS = [name for name in ulna.__all__ if inspect.isfunction(getattr(ulna, name))]
MODULES = [name for name in ulna.__all__ if inspect.ismodule(getattr(ulna, name))]


def test_every_public_name_is_a_class_a_function_or_a_module():
    assert set(ulna.__all__) - {"__version__"} == {*CLASSES, *FUNCTIONS, *MODULES}
    assert {"read", "load", "pretrain", "evaluate", "Dataset", "Model", "Batch", "UlnaError", "protocols"} <= {
        *ulna.__all__
    }


def test_importing_ulna_is_light():
    code = (
        "import sys, time; t = time.perf_counter(); import ulna; print(time.perf_counter() - t, 'torch' in sys.modules)"
    )
    found = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(3)
    ]
    assert min(float(seconds) for seconds, _ in found) < 0.2
    assert {torch for _, torch in found} == {"False"}


def public_callables():
    """Every public function, and every public method of every public class."""
    owners = [getattr(ulna, name) for name in CLASSES]
    for module in (ulna.encoders, ulna.formats, ulna.preprocessing, ulna.pretext, ulna.recipes, ulna.protocols):
        listed = [getattr(module, name) for name in getattr(module, "__all__", dir(module)) if name[0] != "_"]
        owners += [item for item in listed if inspect.isclass(item) and item.__module__.startswith("ulna.")]
        yield from ((f"{module.__name__}.{item.__name__}", item) for item in listed if inspect.isfunction(item))
    yield from ((name, getattr(ulna, name)) for name in FUNCTIONS)
    for owner in dict.fromkeys(owners):
        yield owner.__qualname__, owner
        for name, member in vars(owner).items():
            function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if inspect.isfunction(function) and not name.startswith("_"):
                yield f"{owner.__qualname__}.{name}", function


CALLABLES = dict(public_callables())


def documented(text: str) -> set[str]:
    """Return the parameters that a docstring describes."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n|\n)*)", inspect.cleandoc(text) + "\n", re.M)
    return set(re.findall(r"^    \*{0,2}(\w+)(?: \([^)]*\))?: \S", section[1], re.M)) if section else set()


@pytest.mark.parametrize("name", CALLABLES)
def test_every_public_name_and_parameter_is_documented(name):
    item = CALLABLES[name]
    assert (item.__doc__ or "").strip() or documented_in_base(name), f"{name} has no docstring"
    if inspect.isclass(item):
        if issubclass(item, BaseModel):
            missing = [field for field, info in item.model_fields.items() if not info.description]
        elif dataclasses.is_dataclass(item):
            missing = [f.name for f in dataclasses.fields(item) if f.init and f.name not in documented(item.__doc__)]
        else:
            missing = []
        # `kind` and `version` say what a file is; they are not options.
        assert not [field for field in missing if field != "version"], f"{name}: {missing} not documented"
        return
    parameters = [p for p in inspect.signature(item).parameters.values() if p.name not in ("self", "cls")]
    if len(parameters) < 2:  # the summary describes a single parameter
        return
    missing = {p.name for p in parameters} - documented(item.__doc__ or "")
    assert not missing or documented_in_base(name), f"{name}: {sorted(missing)} not documented"


def documented_in_base(name: str) -> bool:
    """Return whether a method implements one that its base class documents."""
    owner, _, method = name.rpartition(".")
    cls = CALLABLES.get(owner)
    bases = cls.__mro__[1:] if inspect.isclass(cls) else ()
    for base in bases:
        function = vars(base).get(method)
        if function is not None and (function.__doc__ or "").strip():
            parameters = set(inspect.signature(function).parameters) - {"self"}
            return len(parameters) < 2 or parameters <= documented(function.__doc__)
    return False


def types_in(annotation: object) -> set[object]:
    found = {annotation}
    for argument in typing.get_args(annotation):
        found |= types_in(argument)
    return found


@pytest.mark.parametrize("name", [*FUNCTIONS, *CLASSES])
def test_nothing_at_the_front_door_is_of_any_type(name):
    item = getattr(ulna, name)
    functions = [item] if inspect.isfunction(item) else []
    if inspect.isclass(item) and not issubclass(item, Config):
        members = [m.__func__ if isinstance(m, classmethod | staticmethod) else m for m in vars(item).values()]
        functions = [m for m in members if inspect.isfunction(m) and not m.__name__.startswith("_")]
    for function in functions:
        if function.__name__ in ("to_json", "from_json"):  # JSON values
            continue
        hints = function.__annotations__
        parameters = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
        assert set(parameters) <= set(hints), f"{function.__qualname__} is not typed"
        assert "return" in hints
        for parameter, hint in hints.items():
            text = hint if isinstance(hint, str) else " ".join(map(str, types_in(hint)))
            assert not re.search(r"\bAny\b", text), f"{function.__qualname__}, {parameter}: {text}"


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    """A folder of recordings: two classes of the sample, as files."""
    (tmp_path / "recordings").mkdir()
    chosen = [clip for clip in cmu_clips() if clip.label in ("walk", "dance")][::4]
    assert len({clip.label for clip in chosen}) == 2
    for number, clip in enumerate(chosen):
        skeleton = clip.skeleton
        np.savez(
            tmp_path / "recordings" / f"{number:03d}.npz", position=clip.position[:20], joints=skeleton.joints,
            parents=skeleton.parents, centre=skeleton.centre, label=clip.label, fps=clip.fps,
        )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore::ulna.UlnaWarning")
def test_the_first_examples_of_readme_run_as_written(recordings, capsys):
    section = (ROOT / "README.md").read_text().partition("## First steps in Python\n")[2]
    ready, own = re.findall(r"```python\n(.*?)```", section, re.S)[:2]
    found: dict[str, typing.Any] = {}
    exec(ready, found)
    model = found["model"]
    assert found["vectors"].shape == (len(found["clips"]), embedding_dim(model.encoder, model.recipe.pooling))
    assert {one.label for one in found["predictions"]} <= {"walk", "dance"}
    assert ulna.load("my_model").classifiers.keys() == {"fit"}
    exec(own, found)
    assert "linear" in capsys.readouterr().out
    assert ulna.load("model").classifiers.keys() == {"linear"}


@pytest.mark.filterwarnings("ignore::ulna.UlnaWarning")
def test_the_whole_front_door_runs_on_the_sample(recordings):
    clips = ulna.read("recordings/", format="npz")
    parts = [("test" if i % 5 == 0 else "train") for i in range(len(clips))]
    clips = [replace(clip, splits={"xview": part, "mine": part}) for clip, part in zip(clips, parts, strict=True)]
    dataset = ulna.Dataset.write("dataset", clips)
    run = ulna.pretrain("gl_transformer/nw_ucla_small", dataset, out="run", device="auto")
    results = ulna.evaluate(run, dataset, ulna.protocols.Linear(), split="xview", seeds=3, save=True)

    model = ulna.load("run")
    vectors = model.embed(clips)
    answers = model.predict(clips)
    model.fit(dataset, split="mine")
    model.save("my_model")

    assert 0 <= results.result.accuracy <= 1
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(model.embed(dataset), vectors, atol=1e-5)
    np.testing.assert_allclose(ulna.load("my_model").embed(clips), vectors, atol=1e-6)
    for answer in answers:
        assert answer.probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert answer.confidence == pytest.approx(answer.probabilities.max())
    assert (recordings / "my_model" / "README.md").read_text().startswith("#")


def test_warnings_reach_python_users(recordings):
    clips = ulna.read("recordings/", format="npz")
    recipe = ulna.recipes.get_recipe("gl_transformer/nw_ucla_small")
    recipe = recipe.replace(split=None, training=recipe.training.replace(epochs=1))
    model = ulna.pretrain(recipe, ulna.Dataset.write("dataset", clips), out="model", progress=False)
    with pytest.warns(ulna.UlnaWarning, match="test clips"):
        ulna.evaluate(model, ulna.Dataset("dataset"), ulna.protocols.KNN(), split="holdout", baselines=False)
    with pytest.warns(ulna.UlnaWarning, match="metres"):
        model.embed([replace(clip, position=clip.position * 100) for clip in clips])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "median body extent")  # the positions of this test are random
        model.embed(clips)
