"""H-Transformer: flow prediction from unchanged frames, then a linear probe (Cheng et al., ICME 2021)."""

from __future__ import annotations

from ulna.encoders import HTransformer
from ulna.models import Recipe
from ulna.preprocessing import MinMax
from ulna.pretext import Flow
from ulna.recipes.motion_transformer import bert_training, flow_recipe, paper_training
from ulna.recipes.paper_size import NTU, paper_size

# A quarter of the paper's width: parts of 64. Chosen on NW-UCLA's xview-dev (20 epochs, one seed, linear): position
# embeddings from sines of 0.03 and a learning rate of 5e-4 65.7; of 0.1 and 1e-3 55.0.
SMALL = HTransformer.Config(embed_dim=512, pos_embed_scale=0.03)
UNCHANGED = Flow.Config(corrupt_input=False)


def _small(name: str, *, split: str, epochs: int, batch_size: int = 32) -> Recipe:
    return flow_recipe(
        name,
        split=split,
        encoder=SMALL,
        preprocessor=MinMax.Config(heading="clip"),
        pretext=UNCHANGED,
        training=bert_training(epochs=epochs, learning_rate=5e-4, batch_size=batch_size),
    )


def sample() -> Recipe:
    """The sample inside the package, whose dataset `ulna quickstart` writes.

    Linear 86.5 ± 1.0, random init 81.9 ± 1.6; three models of three minutes on one core of two.

    ulna pretrain h_transformer/sample --data quickstart/dataset --out MODEL
    """
    return _small("h_transformer/sample", split="recordings", epochs=30, batch_size=16)


def nw_ucla() -> Recipe:
    """NW-UCLA at a quarter of the paper's width.

    Linear 72.7 (random init 60.3; the paper at full width 83.9); three models of 13 minutes on one core. For UTD-MHAD,
    which was not measured: --split xsub --training.batch-size 16; for SBU also --encoder.persons concatenated.

    ulna pretrain h_transformer/nw_ucla --data DATASET --out MODEL
    """
    return _small("h_transformer/nw_ucla", split="xview", epochs=40)


def _paper(name: str, split: str) -> Recipe:
    return flow_recipe(
        name,
        split=split,
        encoder=HTransformer.Config(),
        preprocessor=MinMax.Config(persons="first"),
        pretext=UNCHANGED,
        training=paper_training(name),
    )


RECIPES = (sample, nw_ucla, *paper_size("h_transformer", list(NTU), _paper))
