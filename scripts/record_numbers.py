"""Record what every recipe computes, so that a refactoring can be shown to change no number.

For every recipe, on CPU in float32: a hash of the fresh weights, the losses of three training steps, a hash of the
weights after them, and a hash of the embeddings of clips made from the sample. For four recipes also the predictions of
linear evaluation, k-NN and fine-tuning. Hashes do not depend on parameter names.

    python scripts/record_numbers.py numbers.json                  # record
    python scripts/record_numbers.py numbers.json --compare OLD    # record, then compare with an earlier file
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ulna.core import Clip, get_skeleton, options, write_text
from ulna.core.places import stand_ins
from ulna.data.sample import sample_clips
from ulna.data import write_store
from ulna.protocols import PROTOCOLS, extract
from ulna.protocols.evaluation import evaluate
from ulna.recipes import RECIPES
from ulna.train import pretrain
from ulna.train.module import Pretraining
from ulna.train.run import build_pretext

NUM_CLIPS, BATCH_SIZE = 24, 8
SKELETONS = {"nw_ucla": "kinect_v1", "utd_mhad": "kinect_v1", "ntu": "kinect_v2", "pku": "kinect_v2", "sbu": "sbu"}
TWO_PERSONS = ("kinect_v2", "sbu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--only", default="")
    wanted = parser.parse_args()
    recorded: dict[str, Any] = {}
    for name in RECIPES:
        if not name.startswith(wanted.only):
            continue
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            recorded[name] = record(name, Path(folder))
        print(f"{name:50} {time.perf_counter() - began:6.1f} s", flush=True)
        write_text(wanted.out, json.dumps(recorded, indent=1))
    if wanted.compare:
        old = json.loads(wanted.compare.read_text())
        changed = [name for name in old if name in recorded and old[name] != recorded[name]]
        missing = [name for name in old if name not in recorded]
        print(f"{len(old)} recorded before, {len(changed)} changed: {changed}, {len(missing)} missing: {missing}")
        sys.exit(1 if changed or missing else 0)


def record(name: str, folder: Path) -> dict[str, Any]:
    """Everything that is compared of one recipe."""
    recipe = RECIPES[name]()
    training = dataclasses.replace(recipe.training, epochs=1, batch_size=BATCH_SIZE, precision="32-true")
    recipe = dataclasses.replace(recipe, training=training)
    skeleton = get_skeleton(next((s for part, s in SKELETONS.items() if part in name), "cmu_body"))
    if "/ablation/" in name:
        skeleton = get_skeleton("sbu" if "persons" in name else "kinect_v1")
    store = write_store(
        folder / "data", made_of_sample(skeleton, str(recipe.split)), skeleton, classes=["a", "b", "c"],
        num_persons=2 if skeleton.name in TWO_PERSONS else 1,
    )  # fmt: skip
    fresh = build_pretext(recipe, store.skeleton, store.num_persons)
    losses: list[dict[str, str]] = []
    step = Pretraining.training_step

    def watched(self: Pretraining, batch: Any, batch_idx: int) -> dict[str, Any]:
        outputs = step(self, batch, batch_idx)
        losses.append({key: float(value).hex() for key, value in outputs["means"].items()})
        return outputs

    Pretraining.training_step = watched
    try:
        run = pretrain(recipe, store, folder / "run", accelerator="cpu", progress=False)
    finally:
        Pretraining.training_step = step
    embeddings = extract(run.encoder, run.form, store, np.arange(store.num_clips))
    found = {
        "fresh": weights_hash(fresh),
        "losses": losses,
        "trained": weights_hash(run.pretext),
        "embeddings": [list(embeddings.shape), digest(embeddings)],
    }
    if name.endswith("/sample"):
        for protocol, options_of in (
            ("linear", {"epochs": 20, "augment": 1, "turn": 0.3}), ("knn", {"k": 3}), ("retrieval", {}),
            ("finetune", {"epochs": 2, "steps": 6, "precision": "32-true"}),
            ("few-labels", {"share": 0.5, "epochs": 2, "steps": 6, "probe_epochs": 5, "precision": "32-true"}),
            ("scratch", {"epochs": 2, "steps": 6, "precision": "32-true"}),
        ):  # fmt: skip
            outcomes = evaluate(
                run, store, protocol=options(PROTOCOLS, protocol, **options_of), split="recordings", seeds=2
            )
            found[protocol] = {
                ("trained" if place == 0 else "untrained" if key.startswith("untrained") else key): [
                    [seed.seed, seed.predictions, seed.oracle, seed.curve, seed.metrics] for seed in outcome.seeds
                ]
                for place, (key, outcome) in enumerate(outcomes.items())
            }
    return found


def made_of_sample(skeleton: Any, split: str) -> list[Clip]:
    """Clips of a skeleton made from the sample: different lengths, gaps, and a second person in half of them."""
    source = get_skeleton("cmu_body")
    joints = range(source.num_joints) if skeleton.name == source.name else stand_ins(source, skeleton)
    own = [(k, joint) for k, joint in enumerate(joints) if joint is not None]
    generator = np.random.default_rng(0)
    windows = list(sample_clips())[:: 250 // NUM_CLIPS][: 2 * NUM_CLIPS]
    num_persons = 2 if skeleton.name in TWO_PERSONS else 1
    made = []
    for number in range(NUM_CLIPS):
        length = 60 if number % 3 == 0 else 20 + number
        position = np.zeros((length, num_persons, skeleton.num_joints, 3), np.float32)
        present = np.zeros(position.shape[:3], dtype=bool)
        for person in range(1 + (num_persons == 2 and number % 2)):
            motion = windows[(number + 5 * person) % len(windows)].position[:, 0]
            motion = motion[np.arange(length) % len(motion)]
            for k, joint in own:
                position[:, person, k] = motion[:, joint] + np.float32([person, 0, 0])
                present[:, person, k] = True
            if number % 4 == 1:
                gap = generator.random((length, skeleton.num_joints)) < 0.1
                present[:, person] &= ~gap
        made.append(
            Clip(
                id=f"clip{number:02d}", position=np.where(present[..., None], position, 0).astype(np.float32),
                skeleton=skeleton, present=present, label=number % 3,
                splits={split: "train" if split != "recordings" or number % 4 else "test"},
            )
        )  # fmt: skip
    return made


def weights_hash(module: torch.nn.Module) -> str:
    """Of all tensors, in any order and under any names."""
    return hashlib.sha256("".join(sorted(digest(value) for value in module.state_dict().values())).encode()).hexdigest()


def digest(tensor: torch.Tensor) -> str:
    content = tensor.detach().cpu().contiguous()
    return hashlib.sha256(str(tuple(content.shape)).encode() + content.numpy().tobytes()).hexdigest()[:24]


if __name__ == "__main__":
    main()
