"""Shapes and types of every annotated function are checked while the tests run."""

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
from jaxtyping import install_import_hook

install_import_hook("ulna", "beartype.beartype")

import torch  # noqa: E402

from ulna.cli import main  # noqa: E402
from ulna.core import Clip, Skeleton, get_skeleton  # noqa: E402
from ulna.dataset import Dataset  # noqa: E402
from ulna.encoders import ENCODERS, GLTransformer  # noqa: E402
from ulna.formats import FORMATS  # noqa: E402
from ulna.models import Model, Recipe, Training  # noqa: E402
from ulna.preprocessing import Disentangled  # noqa: E402
from ulna.pretext import MPDP, PRETEXTS  # noqa: E402
from ulna.training import pretrain  # noqa: E402

HERE = Path(__file__).parent
# Reference vectors of the released GL-Transformer (12 MB) are not kept in the repository.
GOLDEN = Path(os.environ.get("ULNA_GOLDEN", HERE.parent.parent / "shared" / "golden"))


CLASSES = ("slow", "fast")
# Options that make each encoder small.
SMALL: dict[str, dict[str, Any]] = {
    "gl_transformer": {"embed_dim": 8, "num_heads": 2, "depth": 1},
    "motion_transformer": {"embed_dim": 32, "num_heads": 2, "depth": 1},
    "h_transformer": {"embed_dim": 64},
    "segment_transformer": {"embed_dim": 32, "num_heads": 2, "depth": 2},
    "compact_transformer": {"segment": 3, "embed_dim": 32, "num_heads": 2, "depth": 2},
    "stgcn": {"width": 4, "embed_dim": 16},
}
# Options that make pretext tasks small.
SMALL_TASKS: dict[str, dict[str, Any]] = {
    "momentum_contrast": {"queue": 16, "hidden_dim": 16, "projection_dim": 8},
    "feature_prediction": {"prototypes": 16, "hidden_dim": 32, "bottleneck": 16},
    "vicreg": {"projector": (16, 16)},
}


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    """Use one thread before any other fixture runs: with several, sums differ from run to run."""
    torch.set_num_threads(1)


@contextmanager
def unchecked() -> Iterator[None]:
    """Traced sizes are symbols, which the check of types takes for anything but numbers."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[Any]) -> None:
    """Wait until a condition holds while a process runs."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.001)


def make_clip(
    name: str,
    num_frames: int,
    *,
    skeleton: str | Skeleton = "kinect_v1",
    num_persons: int = 1,
    label: str | None = None,
    seed: int = 0,
    speed: float = 0.02,
    splits: dict[str, str] | None = None,
) -> Clip:
    """A body at rest whose joints swing with a frequency that depends on the class, so that classes can be learned."""
    known = get_skeleton(skeleton)
    random = np.random.default_rng([seed, sum(map(ord, name))])
    rest = np.random.default_rng(7).normal(0, 0.4, (num_persons, known.num_joints, 3)) + np.array([0, 1, 3])
    time = np.arange(num_frames)[:, None, None, None]
    frequency = 0.3 * (1 + (CLASSES.index(label) if label in CLASSES else 0))
    swing = speed * np.sin(time * frequency + np.arange(known.num_joints)[:, None] + random.random())
    position = (rest + swing + random.normal(0, 0.002, (num_frames, *rest.shape))).astype(np.float32)
    return Clip(id=name, position=position, skeleton=known, label=label, subject=seed, splits=splits or {})


def tiny(epochs: int = 2, **training: Any) -> Recipe:
    """The smallest recipe that learns something of the dataset below."""
    return Recipe(
        name="tiny",
        preprocessor=Disentangled.Config(max_frames=16),
        encoder=GLTransformer.Config(embed_dim=4, num_heads=2, depth=1),
        pretext=MPDP.Config(intervals=(1, 3)),
        split="half",
        training=Training(epochs=epochs, batch_size=8, learning_rate=1e-2, checkpoint_every=1, **training),
    )


def model_of(recipe: Recipe, dataset: Any, path: Path, **options: Any) -> Model:
    """Pretrain on the CPU, in silence."""
    return pretrain(recipe, dataset, path, device="cpu", devices=1, progress=False, **options)


def encoder_of(name: str, preprocessor: Any, **options: Any) -> Any:
    """A small encoder of the table, seeded, for a preprocessor's batches."""
    torch.manual_seed(0)
    cls = ENCODERS[name]
    return cls(cls.Config(**(SMALL.get(name, {}) | options)), preprocessor.spec)


def pretext_of(name: str, encoder: Any, **options: Any) -> Any:
    """A pretext task of the table on an encoder."""
    cls = PRETEXTS[name]
    return cls(cls.Config(**(SMALL_TASKS.get(name, {}) | options)), encoder)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """40 clips of two classes, 4 to 23 frames, split `half`."""
    clips = [
        make_clip(
            f"clip{i:02d}",
            4 + i % 20,
            label=CLASSES[i % 2],
            seed=i,
            speed=0.1,
            splits={"half": "train" if i % 4 < 2 else "test"},
        )
        for i in range(40)
    ]
    path = tmp_path_factory.mktemp("data") / "dataset"
    return Dataset.write(path, clips, classes=CLASSES)


@pytest.fixture(scope="module")
def model(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Four epochs of the tiny recipe; a model for each test module, so that files written into it stay there."""
    return model_of(tiny(epochs=4), dataset, tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command as a person would; returns exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ulna", *map(str, arguments)])
        code: Any = 0
        handler, show = signal.getsignal(signal.SIGTERM), warnings.showwarning
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        finally:
            signal.signal(signal.SIGTERM, handler)
            warnings.showwarning = show
        out, err = capsys.readouterr()
        return int(code or 0), out, err

    return call


def read_one(name, source, path, **options):
    """The one clip of a file, and what the format found in the folder."""
    format = FORMATS[name](**options)
    found = format.open(source)
    (clip,) = format.read(path, found)
    return clip, found
