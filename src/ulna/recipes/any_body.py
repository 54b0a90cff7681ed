"""Recipes of encoders for any body, which take clips of any skeleton, in two or three dimensions."""

from __future__ import annotations

from ulna.batch import Augmentation
from ulna.models.recipe import Recipe
from ulna.preprocessing import Disentangled
from ulna.pretext import MPDP
from ulna.recipes.gl_transformer import FAST, muon_training

BODY = Disentangled.Config(heading="clip", gaps="interpolate", persons="together", max_frames=32, num_frames=32)
"""Input of an encoder for any body: the whole clip, resampled to 32 frames."""


def base() -> Recipe:
    """An encoder for any body: MPDP on clips of any skeleton, with random limb swings and virtual cameras.

    With 5 % of the labels 59.9 on average of five datasets that it was not trained on, raw joints 46.5, random init
    55.3 (results/any_body.md); three models of 9 minutes on one core of an AMD EPYC.

    ulna pretrain base --data cmu ui_prmd@xsub --out MODEL
    """
    return Recipe(
        name="base",
        preprocessor=BODY,
        encoder=FAST.replace(pos_embed_scale=0.3, missing_token=True),
        pretext=MPDP.Config(mask_ratio=0.5, mask_missing=True),
        body="human36m",
        pooling="blocks+poses",
        augmentation=Augmentation(time_scale=0.0, shear=0.5, mirror=0.5, swing=1.2, camera=0.3),
        training=muon_training(epochs=30, batch_size=32),
    )


def quickstart() -> Recipe:
    """A small encoder for any body, as `ulna quickstart` pretrains it on the sample inside the package.

    ulna pretrain quickstart --data quickstart/dataset --out MODEL
    """
    own = base()
    return own.replace(
        name="quickstart",
        encoder=own.encoder.replace(embed_dim=8, depth=2),
        training=own.training.replace(epochs=40),
        split="xsub",
    )


RECIPES = (base, quickstart)
