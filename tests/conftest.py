"""Shapes and types of every annotated function are checked while the tests run."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import install_import_hook

install_import_hook("ulna", "beartype.beartype")

import torch  # noqa: E402

from ulna.core import Clip, Skeleton, get_skeleton  # noqa: E402
from ulna.data import Augmentation, Dataset, write_dataset  # noqa: E402
from ulna.formats import FORMATS  # noqa: E402
from ulna.training import Recipe, Run, Training, compose, pretrain  # noqa: E402

HERE = Path(__file__).parent
# Reference vectors of the released GL-Transformer (12 MB) are not kept in the repository.
GOLDEN = Path(os.environ.get("ULNA_GOLDEN", HERE.parent.parent / "shared" / "golden"))


@pytest.fixture(autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(1)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[Any]) -> None:
    """Until something is so while a process runs."""
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
    label: int | None = None,
    seed: int = 0,
    speed: float = 0.02,
    splits: dict[str, str] | None = None,
) -> Clip:
    """A body at rest whose joints swing with a frequency of the label's, so that labels can be learnt."""
    known = get_skeleton(skeleton)
    random = np.random.default_rng([seed, sum(map(ord, name))])
    rest = np.random.default_rng(7).normal(0, 0.4, (num_persons, known.num_joints, 3)) + np.array([0, 1, 3])
    time = np.arange(num_frames)[:, None, None, None]
    swing = speed * np.sin(time * 0.3 * (1 + (label or 0)) + np.arange(known.num_joints)[:, None] + random.random())
    position = (rest + swing + random.normal(0, 0.002, (num_frames, *rest.shape))).astype(np.float32)
    return Clip(id=name, position=position, skeleton=known, label=label, subject=seed, splits=splits or {})


def tiny(epochs: int = 2, **training: Any) -> Recipe:
    """The smallest recipe that learns something of the dataset below."""
    return compose(
        "tiny",
        input={"name": "disentangled", "max_frames": 16},
        encoder={"name": "gl_transformer", "width": 4, "num_heads": 2, "num_blocks": 1},
        pretext={"name": "displacement", "intervals": (1, 3)},
        split="half",
        augmentation=Augmentation(),
        training=Training(epochs=epochs, batch_size=8, learning_rate=1e-2, checkpoint_every=1, **training),
    )


def run_of(recipe: Recipe, dataset: Dataset, path: Path, **options: Any) -> Run:
    """Pretrained on the CPU, in silence."""
    return pretrain(recipe, dataset, path, accelerator="cpu", devices=1, progress=False, **options)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """40 clips of two classes, 4 to 23 frames, split `half`."""
    clips = [
        make_clip(
            f"clip{i:02d}",
            4 + i % 20,
            label=i % 2,
            seed=i,
            speed=0.1,
            splits={"half": "train" if i % 4 < 2 else "test"},
        )
        for i in range(40)
    ]
    path = tmp_path_factory.mktemp("data") / "dataset"
    return write_dataset(path, clips, get_skeleton("kinect_v1"), classes=["slow", "fast"])


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Four epochs of the tiny recipe; each module's own, so that what is written beside it stays there."""
    return run_of(tiny(epochs=4), dataset, tmp_path_factory.mktemp("runs") / "run")


def read_one(name, source, path, **options):
    """The one clip of a file, and what the reader found in the folder."""
    reader = FORMATS[name](**options)
    found = reader.open(source)
    (clip,) = reader.read(path, found)
    return clip, found
