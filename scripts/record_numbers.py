"""Record what every recipe computes, so that a refactoring can be shown to change no number.

For every recipe, on CPU in float32: a hash of the fresh weights, the losses of three training steps, a hash of the
weights after them, and a hash of the embeddings of clips made from the sample. For four recipes also the predictions of
linear evaluation, k-NN and fine-tuning. Hashes do not depend on parameter names. One thread: with several, the order of
sums differs from run to run.

    python scripts/record_numbers.py numbers.json                  # record
    python scripts/record_numbers.py numbers.json --compare OLD    # record, then compare with an earlier file
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MKL_CBWR": "COMPATIBLE"}

import argparse
import hashlib
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ulna.core import Clip, Skeleton, get_skeleton, match_joints, write_text
from ulna.dataset import Dataset
from ulna.dataset.sample import cmu_clips
from ulna.encoders import GLTransformer
from ulna.evaluation import Protocol, evaluate
from ulna.evaluation.protocols import KNN, FineTune, Linear, Retrieval
from ulna.models import Recipe
from ulna.models.embedding import Embedder
from ulna.pretext import MPDP
from ulna.recipes import RECIPES, get_recipe
from ulna.training import pretrain
from ulna.training.planned import PlannedModule

NUM_CLIPS, BATCH_SIZE = 24, 8
SKELETONS = {"nw_ucla": "kinect_v1", "utd_mhad": "kinect_v1", "ntu": "kinect_v2", "pku": "kinect_v2", "sbu": "sbu"}
TWO_PERSONS = ("kinect_v2", "sbu")
QUICK: dict[str, Any] = {"epochs": 2, "steps": 6, "precision": "32-true"}
PROTOCOLS: dict[str, Protocol] = {
    "linear": Linear(epochs=20, augment=1, yaw=0.3),
    "knn": KNN(k=3),
    "retrieval": Retrieval(),
    "finetune": FineTune(**QUICK),
    "few-labels": FineTune(share=0.5, probe_epochs=5, **QUICK),
    "scratch": FineTune(from_scratch=True, **QUICK),
}
KINDS = {"trained": "trained", "random_init": "untrained", "raw_joints": "raw_1nn", "chance": "chance"}


def main() -> None:
    """Record, and compare if asked to."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--only", default="", help="Start of the names of recipes.")
    wanted = parser.parse_args()
    recorded: dict[str, Any] = {}
    recipes = {name: RECIPES[name]() for name in RECIPES} | parameters_of_others()
    for name, recipe in recipes.items():
        if not name.startswith(wanted.only):
            continue
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            recorded[name] = record(name, recipe, Path(folder))
        print(f"{name:50} {time.perf_counter() - began:6.1f} s", flush=True)
        write_text(wanted.out, json.dumps(recorded, indent=1))
    if wanted.compare:
        old = {k: v for k, v in json.loads(wanted.compare.read_text()).items() if k.startswith(wanted.only)}
        changed = [
            f"{name}: {part}"
            for name in old
            if name in recorded
            for part in old[name]
            if rounded(old[name][part]) != rounded(recorded[name].get(part))
        ]
        missing = [name for name in old if name not in recorded]
        print(f"{len(old)} recorded before; changed: {changed or 'none'}; missing: {missing or 'none'}")
        sys.exit(1 if changed or missing else 0)


def parameters_of_others() -> dict[str, Recipe]:
    """Recipes that were not measured and are now parameters of others, as their descriptions say."""
    small = get_recipe("gl_transformer/nw_ucla_small")
    motion, h = get_recipe("motion_transformer/utd_mhad"), get_recipe("h_transformer/nw_ucla")
    flow = get_recipe("motion_transformer/ablation/flow")
    beside = {"split": "fold1", "name": ""}
    return {
        "gl_transformer/nw_ucla": small.replace(
            encoder=GLTransformer.Config(),
            training=small.training.replace(epochs=300, batch_size=128, lr_decay=0.99, precision="32-true"),
        ),
        "motion_transformer/sbu": motion.replace(
            encoder=motion.encoder.replace(persons="concatenated"), **beside
        ),
        "motion_transformer/ablation/both": flow.replace(pretext=flow.pretext.replace(objective="both")),
        "motion_transformer/ablation/displacement": flow.replace(pretext=MPDP.Config()),
        "h_transformer/utd_mhad": h.replace(split="xsub"),
        "h_transformer/sbu": h.replace(encoder=h.encoder.replace(persons="concatenated"), **beside),
    }  # fmt: skip


def record(name: str, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Return everything that is compared of one recipe."""
    recipe = recipe.replace(
        training=recipe.training.replace(epochs=1, batch_size=BATCH_SIZE, precision="32-true"),
        performances=None,  # the clips of the sample show different ones
    )
    skeleton = get_skeleton(next((s for part, s in SKELETONS.items() if part in name), "cmu_body"))
    if "/ablation/" in name:
        skeleton = get_skeleton("sbu" if "persons" in name else "kinect_v1")
    dataset = Dataset.write(
        folder / "data", clips_from_sample(skeleton, str(recipe.split)), classes=["a", "b", "c"], skeleton=skeleton,
        num_persons=2 if skeleton.name in TWO_PERSONS else 1,
    )  # fmt: skip
    fresh = recipe.build_pretext(recipe.build_preprocessor(skeleton, dataset.num_persons).spec)
    losses: list[dict[str, str]] = []
    step = PlannedModule.training_step

    def watched(self: PlannedModule, batch: Any, batch_idx: int) -> dict[str, Any]:
        outputs = step(self, batch, batch_idx)
        losses.append({key: float(value).hex() for key, value in outputs["means"].items()})
        return outputs

    PlannedModule.training_step = watched  # type: ignore[method-assign]
    try:
        model = pretrain(recipe, dataset, folder / "run", device="cpu", progress=False)
    finally:
        PlannedModule.training_step = step  # type: ignore[method-assign]
    embedder = Embedder(model.encoder, model.preprocessor, recipe.pooling)
    embeddings = embedder.embed_dataset(dataset, np.arange(dataset.num_clips))
    found = {
        "fresh": weights_hash(fresh),
        "losses": losses,
        "trained": weights_hash(model.pretext),
        "embeddings": [list(embeddings.shape), digest(embeddings)],
    }
    if name.endswith("/sample"):
        for title, protocol in PROTOCOLS.items():
            results = evaluate(model, dataset, protocol, split="recordings", seeds=2, device="cpu").results
            found[title] = {
                KINDS[result.key.kind]: [
                    [seed.seed, seed.predictions, seed.oracle, seed.curve, seed.metrics] for seed in result.seeds
                ]
                for result in results
            }
    return found


def clips_from_sample(skeleton: Skeleton, split: str) -> list[Clip]:
    """Return clips of a skeleton made from the sample: of different lengths, with gaps, half with a second person."""
    source = get_skeleton("cmu_body")
    joints = range(source.num_joints) if skeleton.name == source.name else match_joints(source, skeleton)
    own = [(k, joint) for k, joint in enumerate(joints) if joint is not None]
    generator = np.random.default_rng(0)
    windows = list(cmu_clips())[:: 250 // NUM_CLIPS][: 2 * NUM_CLIPS]
    num_persons = 2 if skeleton.name in TWO_PERSONS else 1
    made = []
    for number in range(NUM_CLIPS):
        length = 60 if number % 3 == 0 else 20 + number
        position = np.zeros((length, num_persons, skeleton.num_joints, 3), np.float32)
        visible = np.zeros(position.shape[:3], dtype=bool)
        for person in range(1 + (num_persons == 2 and number % 2)):
            motion = windows[(number + 5 * person) % len(windows)].position[:, 0]
            motion = motion[np.arange(length) % len(motion)]
            for k, joint in own:
                position[:, person, k] = motion[:, joint] + np.float32([person, 0, 0])
                visible[:, person, k] = True
            if number % 4 == 1:
                gap = generator.random((length, skeleton.num_joints)) < 0.1
                visible[:, person] &= ~gap
        made.append(
            Clip(
                id=f"clip{number:02d}", position=np.where(visible[..., None], position, 0).astype(np.float32),
                skeleton=skeleton, visible=visible, label="abc"[number % 3],
                splits={split: "train" if split != "recordings" or number % 4 else "test"},
            )
        )  # fmt: skip
    return made


def weights_hash(module: torch.nn.Module) -> str:
    """Return a hash of all tensors, in any order and under any names."""
    return hashlib.sha256("".join(sorted(digest(value) for value in module.state_dict().values())).encode()).hexdigest()


def digest(tensor: torch.Tensor) -> str:
    """Return a hash of shape and values."""
    content = tensor.detach().cpu().contiguous()
    return hashlib.sha256(str(tuple(content.shape)).encode() + content.numpy().tobytes()).hexdigest()[:24]


def rounded(value: Any) -> Any:
    """Return metrics with nine digits; hashes and losses, which are text, unchanged."""
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return {key: rounded(one) for key, one in value.items()} if isinstance(value, dict) else value


if __name__ == "__main__":
    main()
