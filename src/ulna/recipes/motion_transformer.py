"""Motion-Transformer: flow prediction at masked frames, then fine-tuning (Cheng et al., MMAsia 2020).

`ulna evaluate MODEL --protocol finetune` (with `--share` for few labels) is what the paper does with a pretrained
encoder, `--from-scratch` what it compares with.
"""

from __future__ import annotations

from ulna.batch import Augmentation
from ulna.encoders import Encoder, MotionTransformer
from ulna.models import Recipe, Training
from ulna.preprocessing import MinMax
from ulna.pretext import Flow
from ulna.recipes.paper_size import NTU, paper_size

# Trains in minutes on two CPU cores. Chosen on NW-UCLA's xview-dev (20 epochs, one seed, linear): position embeddings
# from sines 65.1 (from noise 60.9), with pre-norm at 1e-3 67.5; heading by clip 60.9 (by first frame 56.5). 60 epochs
# with shear and resampling are no better: 63.3, and 49.0 with 10 % of the labels (20 epochs: 49.1).
SMALL = MotionTransformer.Config(embed_dim=256, num_heads=4, norm="pre", pos_embed_scale=0.1)


def bert_training(*, epochs: int, learning_rate: float, batch_size: int = 32) -> Training:
    """Return BERT's optimisation: linear warm-up over a tenth of the steps, linear to zero, clipped gradients."""
    return Training(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=0.01,
        schedule="linear",
        warmup=0.1,
        clip_norm=1.0,
        precision="bf16-mixed",
    )


def flow_recipe(
    name: str,
    *,
    split: str,
    encoder: Encoder.Config,
    preprocessor: MinMax.Config,
    training: Training,
    pretext: Flow.Config | None = None,
) -> Recipe:
    """Return a recipe of flow prediction without augmentation."""
    return Recipe(
        name=name,
        preprocessor=preprocessor,
        encoder=encoder,
        pretext=pretext or Flow.Config(),
        split=split,
        augmentation=Augmentation(time_scale=0.0, shear=0.0),
        training=training,
    )


def small(name: str, *, split: str, epochs: int, batch_size: int = 32) -> Recipe:
    """Return a recipe for few clips on two CPU cores."""
    return flow_recipe(
        name,
        split=split,
        encoder=SMALL,
        preprocessor=MinMax.Config(heading="clip"),
        training=bert_training(epochs=epochs, learning_rate=1e-3, batch_size=batch_size),
    )


def sample() -> Recipe:
    """The sample inside the package, whose dataset `ulna quickstart` writes.

    Linear 86.5 ± 1.8, random init 87.5 ± 3.1: pretraining adds nothing there. Three models of two minutes on one core
    of two.

    ulna pretrain motion_transformer/sample --data quickstart/dataset --out MODEL
    """
    return small("motion_transformer/sample", split="recordings", epochs=30, batch_size=16)


def nw_ucla() -> Recipe:
    """NW-UCLA at half of our width for NTU.

    Linear 68.6 (random init 59.3), 5 % of the labels 51.7 (from scratch 47.6); three models of four minutes on one
    core.

    ulna pretrain motion_transformer/nw_ucla --data DATASET --out MODEL
    """
    return small("motion_transformer/nw_ucla", split="xview", epochs=20)


def utd_mhad() -> Recipe:
    """UTD-MHAD, trained on odd subjects.

    Linear 82.5 (random init 66.1), 5 % of the labels 59.3 (from scratch 43.2); three models of six minutes on one core.
    For SBU, which was not measured: --split fold1 --encoder.persons concatenated.

    ulna pretrain motion_transformer/utd_mhad --data DATASET --out MODEL
    """
    return small("motion_transformer/utd_mhad", split="xsub", epochs=40, batch_size=16)


def paper_training(name: str) -> Training:
    """Return the optimisation of H-Transformer as released: 100,000 steps are some 80 epochs of NTU RGB+D 60."""
    return bert_training(epochs=80 if "ntu60" in name else 50, learning_rate=1e-4)


def _paper(name: str, split: str) -> Recipe:
    return flow_recipe(
        name,
        split=split,
        encoder=MotionTransformer.Config(),
        preprocessor=MinMax.Config(persons="first"),
        training=paper_training(name),
    )


RECIPES = (sample, nw_ucla, utd_mhad, *paper_size("motion_transformer", list(NTU), _paper))
