"""SLiM (arXiv 2603.10648): masked feature prediction with an EMA teacher on few tokens."""

from __future__ import annotations

from ulna.encoders import CompactTransformer
from ulna.models import Recipe, Training
from ulna.preprocessing import Shifted
from ulna.pretext import FeaturePrediction
from ulna.recipes.contrast import NO_AUGMENTATION
from ulna.recipes.gl_transformer import WHOLE_CLIPS, muon_training
from ulna.recipes.paper_size import NTU, PKU_MMD, paper_size

SMALL = CompactTransformer.Config(segment=4, embed_dim=96, num_heads=6, depth=4)
SMALL_PRETEXT = FeaturePrediction.Config(prototypes=1024)


def nw_ucla() -> Recipe:
    """NW-UCLA at a fraction of the paper's size, for two CPU cores.

    ulna pretrain slim/nw_ucla --data DATASET --out MODEL
    """
    return Recipe(
        name="slim/nw_ucla",
        preprocessor=WHOLE_CLIPS.replace(max_frames=50),
        encoder=SMALL,
        pretext=SMALL_PRETEXT,
        split="xview",
        pooling="blocks",
        augmentation=NO_AUGMENTATION,
        training=muon_training(epochs=40, batch_size=32),
    )


def _paper(name: str, split: str) -> Recipe:
    """Return the released sizes and schedule, with the batch size of one of the authors' four devices.

    One person at a time is pretrained on there; here all visible ones are, each encoded separately. docs/contrast.md
    lists other differences.
    """
    return Recipe(
        name=name,
        preprocessor=Shifted.Config(centre="spine_mid", max_frames=64),
        encoder=CompactTransformer.Config(),
        pretext=FeaturePrediction.Config(prototypes=65_536, hidden_dim=2048, local_views=8),
        split=split,
        pooling="class+mean",
        augmentation=NO_AUGMENTATION,
        training=Training(
            epochs=3592,
            batch_size=192,
            learning_rate=8.7e-5,
            weight_decay=0.04,
            decay_vectors=False,
            schedule="cosine",
            warmup=0.13,
            clip_norm=3.0,
            precision="bf16-mixed",
        ),
    )


RECIPES = (nw_ucla, *paper_size("slim", [*NTU, *PKU_MMD], _paper))
