"""GL-Transformer with multi-interval displacement prediction (Kim et al., ECCV 2022)."""

from __future__ import annotations

from ulna.batch import Augmentation
from ulna.encoders import GLTransformer
from ulna.models import Recipe, Training
from ulna.preprocessing import Disentangled
from ulna.pretext import MPDP, VICReg, WeightedSum
from ulna.recipes.paper_size import NTU, PKU_MMD, paper_size

# Each clip is rotated once and kept whole, with its gaps interpolated.
WHOLE_CLIPS = Disentangled.Config(heading="clip", gaps="interpolate", long_clips="resample")
# Trains in minutes on two CPU cores, with smaller batches than the paper's 128.
SMALL = GLTransformer.Config(embed_dim=16, num_heads=4, attention_dropout=0.0)
FAST = SMALL.replace(absent="skip")


def small_training(*, epochs: int, batch_size: int, lr_decay: float) -> Training:
    """Return the optimisation of recipes for two CPU cores."""
    return Training(epochs=epochs, batch_size=batch_size, lr_decay=lr_decay, precision="bf16-mixed")


def muon_training(*, epochs: int, batch_size: int) -> Training:
    """Return the optimisation by Muon of recipes for two CPU cores."""
    return Training(
        epochs=epochs, batch_size=batch_size, muon_rate=5e-3, warmup=30, schedule="cosine", precision="bf16-mixed"
    )


def as_paper(name: str, *, max_frames: int, split: str, encoder: GLTransformer.Config, training: Training) -> Recipe:
    """Return a recipe with the paper's input, intervals {1, 5, 10} and augmentation, and exact heading."""
    return Recipe(
        name=name,
        preprocessor=Disentangled.Config(max_frames=max_frames),
        encoder=encoder,
        pretext=MPDP.Config(),
        split=split,
        training=training,
    )


def sample() -> Recipe:
    """The sample of CMU inside the package (`ulna sample cmu DATASET`).

    Linear 78.1 ± 2.8, random init 76.0 ± 6.5; three models of 0.9 minutes on two cores of an AMD EPYC.

    ulna pretrain gl_transformer/sample --data DATASET --out MODEL
    """
    return as_paper(
        "gl_transformer/sample",
        max_frames=60,
        split="recordings",
        encoder=GLTransformer.Config(embed_dim=8, num_heads=4, depth=2, attention_dropout=0.0),
        training=Training(epochs=30, batch_size=16, learning_rate=1e-3, lr_decay=0.97, precision="bf16-mixed"),
    )


def nw_ucla_small() -> Recipe:
    """NW-UCLA at a third of the paper's width, for two CPU cores.

    Linear 81.4 ± 2.4 (xview), 78.6 ± 2.4 (clean); three models, the first in 12 minutes on one core of an AMD EPYC. The
    paper's size was not measured: --encoder.embed-dim 48 --encoder.num-heads 8 --encoder.attention-dropout 0.1
    --training.epochs 300 --training.batch-size 128 --training.lr-decay 0.99 --training.precision 32-true

    ulna pretrain gl_transformer/nw_ucla_small --data DATASET --out MODEL
    """
    return as_paper(
        "gl_transformer/nw_ucla_small",
        max_frames=50,
        split="xview",
        encoder=SMALL,
        training=small_training(epochs=40, batch_size=32, lr_decay=0.95),
    )


def beyond_paper(
    name: str,
    *,
    preprocessor: Disentangled.Config,
    split: str,
    training: Training,
    encoder: GLTransformer.Config = FAST,
    pretext: MPDP.Config | None = None,
    augmentation: Augmentation | None = None,
) -> Recipe:
    """Return a recipe whose choices were made on a development split (results/nw_ucla.md).

    A clip is rotated once, not frame by frame; long clips are resampled, not cut; gaps are interpolated; absent persons
    are not computed; embeddings are pooled from all blocks.
    """
    return Recipe(
        name=name,
        preprocessor=preprocessor,
        encoder=encoder,
        pretext=pretext or MPDP.Config(),
        split=split,
        pooling="blocks",
        augmentation=augmentation or Augmentation(),
        training=training,
    )


def nw_ucla_best() -> Recipe:
    """NW-UCLA beyond the paper, for two CPU cores.

    Half of the input is masked, half of the clips are mirrored, training is four times as long as in the small recipe,
    and position embeddings start from sines. Linear 85.9 ± 0.7 (xview), 82.3 ± 0.8 (clean), random init 80.1 ± 1.4;
    three models of 53 minutes on one core of an AMD EPYC.

    ulna pretrain gl_transformer/nw_ucla_best --data DATASET --out MODEL
    """
    return beyond_paper(
        "gl_transformer/nw_ucla_best",
        preprocessor=WHOLE_CLIPS.replace(max_frames=50),
        split="xview",
        encoder=FAST.replace(pos_embed_scale=0.3),
        pretext=MPDP.Config(mask_ratio=0.5),
        augmentation=Augmentation(mirror=0.5),
        training=small_training(epochs=160, batch_size=32, lr_decay=0.9873),
    )


def nw_ucla_muon() -> Recipe:
    """NW-UCLA as `nw_ucla_best`, but optimised by Muon, which reaches the same loss in a quarter of the steps.

    Linear 85.6 ± 0.7 (clean 81.9), with weight decay 0.1 in the probe 87.5 ± 0.9 (84.3); three models of 34 to 43
    minutes on one core of an AMD EPYC.

    ulna pretrain gl_transformer/nw_ucla_muon --data DATASET --out MODEL
    """
    return nw_ucla_best().replace(name="gl_transformer/nw_ucla_muon", training=muon_training(epochs=160, batch_size=32))


def nw_ucla_cameras() -> Recipe:
    """NW-UCLA, from `nw_ucla_muon`: VICReg between the recordings of one performance by two cameras.

    Uses which recordings show the same performance, from the names of the clips, and no label. Linear 87.6 ± 0.5 (clean
    84.5), with weight decay 0.1 in the probe 88.6 ± 0.4 (85.6); 1-NN 87.9 ± 0.6 (84.8); random init 80.1 ± 1.4. Three
    models of 26 minutes on one core of an AMD EPYC, after `nw_ucla_muon`.

    ulna pretrain gl_transformer/nw_ucla_cameras --data DATASET --out MODEL --start MUON
    """
    view = Augmentation(shear=0.3, yaw=0.8, scale=0.15, crop=0.4, bone_scale=0.1)
    muon = nw_ucla_muon()
    tasks = (muon.pretext, VICReg.Config(view=view, pooling="blocks", mask_ratio=0.2))  # the probe sees all blocks
    return muon.replace(
        name="gl_transformer/nw_ucla_cameras",
        pretext=WeightedSum.Config(tasks=tasks, weights=(1.0, 0.2)),
        augmentation=Augmentation(),  # mirrored, two recordings of one performance would show different hands
        training=muon_training(epochs=40, batch_size=32).replace(muon_rate=1e-2, learning_rate=1e-3),
        performances="(.*)_v[0-9]+",
    )


def utd_mhad() -> Recipe:
    """UTD-MHAD, trained on odd subjects, for two CPU cores.

    Linear 86.7 ± 2.9, random init 79.3 ± 1.6; three models of 16 minutes on one core of an AMD EPYC.

    ulna pretrain gl_transformer/utd_mhad --data DATASET --out MODEL
    """
    return beyond_paper(
        "gl_transformer/utd_mhad",
        preprocessor=WHOLE_CLIPS.replace(max_frames=125),
        split="xsub",
        training=small_training(epochs=60, batch_size=16, lr_decay=0.965),
    )


def sbu() -> Recipe:
    """SBU Kinect Interaction, fold 1 of 5 (--split for the others), for two CPU cores.

    Persons are moved and rotated together. Over the five folds linear 81.0 ± 0.5, fine-tuned 82.2 ± 2.6, random init
    80.5 ± 1.1; three models of 6 to 9 minutes per fold on one core of an AMD EPYC.

    ulna pretrain gl_transformer/sbu --data DATASET --out MODEL --split fold1
    """
    return beyond_paper(
        "gl_transformer/sbu",
        preprocessor=WHOLE_CLIPS.replace(max_frames=50, persons="together"),
        split="fold1",
        training=small_training(epochs=60, batch_size=16, lr_decay=0.965),
    )


def own_2d() -> Recipe:
    """Your own recordings in two dimensions, all clips, for two CPU cores.

    Positions in the image are turned upright and scaled by the length of the torso; half of the clips are mirrored. The
    choices are those of gl_transformer/penn_action; nothing was tuned for your data.

    ulna pretrain gl_transformer/own_2d --data DATASET --out MODEL
    """
    return _own("gl_transformer/own_2d", WHOLE_CLIPS.replace(max_frames=60, heading="none"))


def own_3d() -> Recipe:
    """Your own recordings in three dimensions, all clips, for two CPU cores.

    Clips are rotated once so that people face the viewer (--preprocessor.heading none for skeletons without shoulders);
    half of them are mirrored. Nothing was tuned for your data.

    ulna pretrain gl_transformer/own_3d --data DATASET --out MODEL
    """
    return _own("gl_transformer/own_3d", WHOLE_CLIPS.replace(max_frames=60))


def _own(name: str, preprocessor: Disentangled.Config) -> Recipe:
    recipe = beyond_paper(
        name,
        preprocessor=preprocessor,
        split="",
        augmentation=Augmentation(mirror=0.5),
        training=small_training(epochs=30, batch_size=16, lr_decay=0.931),
    )
    return recipe.replace(split=None)


def penn_action() -> Recipe:
    """Penn Action, in two dimensions, for two CPU cores.

    Positions in the image are turned upright and scaled by the length of the torso. Half of the clips are mirrored.
    Linear 93.4 ± 0.3, random init 93.6 ± 0.3; three models of 10 to 26 minutes on one core of an AMD EPYC.

    ulna pretrain gl_transformer/penn_action --data DATASET --out MODEL
    """
    return beyond_paper(
        "gl_transformer/penn_action",
        preprocessor=WHOLE_CLIPS.replace(max_frames=60, heading="none"),
        split="official",
        augmentation=Augmentation(mirror=0.5),
        training=small_training(epochs=30, batch_size=16, lr_decay=0.931),
    )


def ui_prmd() -> Recipe:
    """UI-PRMD, trained on odd subjects, for two CPU cores.

    Linear 93.9 ± 0.6 (movements), 82.2 ± 0.7 (correct or incorrect), random init 94.9 ± 0.3 and 83.0 ± 1.0; three
    models of 9 to 15 minutes on one core of an AMD EPYC.

    ulna pretrain gl_transformer/ui_prmd --data DATASET --out MODEL
    """
    return beyond_paper(
        "gl_transformer/ui_prmd",
        preprocessor=WHOLE_CLIPS.replace(max_frames=60),
        split="xsub",
        training=small_training(epochs=30, batch_size=16, lr_decay=0.931),
    )


def _paper(name: str, split: str) -> Recipe:
    training = Training(epochs=120, precision="bf16-mixed")
    return as_paper(name, max_frames=300, split=split, encoder=GLTransformer.Config(), training=training)


RECIPES = (
    sample, nw_ucla_small, nw_ucla_best, nw_ucla_muon, nw_ucla_cameras, utd_mhad, sbu, own_2d,
    own_3d, penn_action, ui_prmd,
    *paper_size("gl_transformer", [*NTU, *PKU_MMD], _paper),
)  # fmt: skip
