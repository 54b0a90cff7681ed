"""A finished run: a folder with the recipe, the weights and everything made from them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ulna.core import Skeleton, build, from_json, torch_seed, within, write_text
from ulna.data import Store
from ulna.data.copies import is_among
from ulna.encoders import ENCODERS, Encoder
from ulna.inputs import INPUTS, InputForm
from ulna.pretext import PRETEXTS, Pretext
from ulna.train.recipe import Recipe

RECIPE, WEIGHTS, METRICS, RESULTS = "recipe.json", "weights.safetensors", "metrics.csv", "results"
SEEN = "pretrained_on.parquet"


@dataclass(frozen=True)
class Run:
    """What `ulna pretrain` leaves behind; `ulna.load(path)` needs nothing else."""

    path: Path
    recipe: Recipe
    skeleton: Skeleton
    num_persons: int
    facts: dict[str, Any]

    @cached_property
    def form(self) -> InputForm:
        made: InputForm = build(INPUTS, self.recipe.input)
        return made

    @cached_property
    def pretext(self) -> Pretext:
        """The pretext task with its trained encoder and heads, in eval mode, on the GPU if there is one."""
        pretext = build_pretext(self.recipe, self.skeleton, self.num_persons)
        pretext.to("cuda" if torch.cuda.is_available() else "cpu")
        _load_weights(pretext, self.path / WEIGHTS)
        return pretext.eval()

    @property
    def encoder(self) -> Encoder:
        return self.pretext.encoder

    def untrained(self, seed: int) -> Encoder:
        """An encoder of the same make with fresh weights, to compare with."""
        encoder = build_pretext(self.recipe, self.skeleton, self.num_persons, seed=seed).encoder
        return encoder.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def read(self, readout: str) -> Run:
        """The same run, but for what a clip's embedding is made of; ValueError if its encoder knows no such readout."""
        chosen = from_json(ENCODERS, self.recipe.encoder.to_json() | {"readout": readout})
        return replace(self, recipe=replace(self.recipe, encoder=chosen))

    def fits(self, skeleton: Skeleton) -> bool:
        """Whether clips of a skeleton mean the same to this run's input form."""
        other, own = ((s.joints, s.centre, s.shoulders) for s in (skeleton, self.skeleton))
        return other == own

    def check(self, store: Store) -> None:
        """ValueError if a store's clips do not fit this run's encoder."""
        if not self.fits(store.skeleton):
            raise ValueError(
                f"{store.path}: expected skeleton {self.skeleton.name!r} ({self.skeleton.num_joints} joints), on which "
                f"{self.path} was pretrained, got {store.skeleton.name!r} ({store.skeleton.num_joints} joints); "
                "prepare a store with that skeleton, pretrain on this one, or map joints by name (--protocol transfer)"
            )
        self.check_persons(store)

    def check_persons(self, store: Store) -> None:
        """ValueError if a store's clips have more persons than this run's encoder takes."""
        if store.num_persons > self.num_persons:
            raise ValueError(
                f"{store.path}: expected at most {self.num_persons} persons a clip, as {self.path} was pretrained, "
                f"got {store.num_persons}"
            )

    def num_seen(self, store: Store, clips: np.ndarray) -> int | None:
        """How many of some clips it was pretrained on, in any store and under any name; None if the run tells not."""
        file = self.path / SEEN
        if not file.is_file():
            return None
        try:
            seen = pq.read_table(file)["hash"]
        except (OSError, KeyError, pa.ArrowException) as error:
            raise ValueError(f"{file}: expected the clips of this run, got a damaged file ({error})") from None
        return int(is_among(store.hashes.take(clips), seen).sum())


def build_pretext(recipe: Recipe, skeleton: Skeleton, num_persons: int, *, seed: int | None = None) -> Pretext:
    """Form, encoder and pretext task joined; fresh weights follow from the seed alone (the recipe's by default)."""
    form: InputForm = build(INPUTS, recipe.input)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(recipe.training.seed if seed is None else seed, "weights"))
        encoder = build(ENCODERS, recipe.encoder, form.slots(skeleton), num_persons, form.max_frames)
        pretext: Pretext = build(PRETEXTS, recipe.pretext, encoder)
    return pretext


def load(path: str | Path) -> Run:
    """Open a run folder; FileNotFoundError or ValueError if it is none."""
    path = Path(path)
    if not (path / RECIPE).is_file() or not (path / WEIGHTS).is_file():
        raise FileNotFoundError(
            f"{path}: expected a run (a folder with {RECIPE} and {WEIGHTS}), got none; see `ulna pretrain`"
        )
    return read_run(path)


def read_run(path: Path) -> Run:
    """The run that a folder's recipe describes, finished or not; ValueError if the recipe is damaged."""
    try:
        facts = json.loads((path / RECIPE).read_text())
        within("num_persons", facts["num_persons"], 1)
        within("training_seconds", facts.get("training_seconds", 0), 0)
        {name: facts["data"][name] for name in ("fingerprint", "num_clips", "num_frames")}
        dict(facts["data"]["source"])
        recipe, skeleton = Recipe.from_json(facts["recipe"]), Skeleton.from_json(facts["skeleton"])
        return Run(path, recipe, skeleton, facts["num_persons"], facts)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path / RECIPE}: expected the recipe of a run, got a damaged file ({error!r})") from None


def save_weights(path: Path, pretext: Pretext) -> None:
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in pretext.state_dict().items()}
    save_file(_unshared(state), path / WEIGHTS)
    (path / WEIGHTS).chmod(0o666 & path.stat().st_mode)  # safetensors hides its files from others


def save_seen(path: Path, store: Store, clips: np.ndarray) -> None:
    """Keep ids and content hashes of the clips that a run was pretrained on."""
    pq.write_table(store.table.select(["id", "hash"]).take(clips), path / SEEN)


def save_facts(path: Path, facts: dict[str, Any]) -> None:
    write_text(path / RECIPE, json.dumps(facts, indent=1))


def _load_weights(pretext: Pretext, path: Path) -> None:
    try:
        weights = load_file(path)
        pretext.load_state_dict(weights)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path}: expected the weights of this run's recipe, got a damaged file ({error})") from None
    if not all(tensor.isfinite().all() for tensor in weights.values()):
        raise ValueError(f"{path}: expected finite weights, got NaN or infinite ones")


def _unshared(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors that several names share: the file format wants each stored by itself."""
    seen: set[int] = set()
    kept = {}
    for name, tensor in state.items():
        kept[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return kept
