"""Ablations: each is a recipe with a few fields changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ulna.models import Recipe
from ulna.recipes import gl_transformer, ha_cm, motion_transformer

Changes = Mapping[str, Mapping[str, Any]]


def _gl(split: str, *, epochs: int, batch_size: int, lr_decay: float) -> Recipe:
    """Return the base of GL-Transformer's ablations, at a third of the paper's width, for two CPU cores."""
    training = gl_transformer.small_training(epochs=epochs, batch_size=batch_size, lr_decay=lr_decay)
    return gl_transformer.as_paper(
        "", max_frames=50, split=split, encoder=gl_transformer.SMALL, training=training
    )  # fmt: skip


GL_NW_UCLA = _gl("xview", epochs=20, batch_size=32, lr_decay=0.9)
GL_SBU = _gl("fold1", epochs=25, batch_size=16, lr_decay=0.92)
# Nine minutes; only the preprocessing differs.
GL_INPUT = gl_transformer.nw_ucla_muon().replace(training=gl_transformer.muon_training(epochs=40, batch_size=32))
PREDICT_CLUSTER = {"heading": "none", "view": "first", "scale": "axis", "long_clips": "stride"}
MOTION_NW_UCLA = motion_transformer.small("", split="xview", epochs=20)
# About five minutes; a tenth of the tokens stays visible, and all tokens are averaged, as in the paper. Joint by joint
# a randomly initialised encoder is as good as one of five minutes.
HA_CM_NW_UCLA = ha_cm.small(
    "",
    split="xview",
    max_frames=24,
    epochs=60,
    pooling="mean",
    pretext=ha_cm.SMALL_PRETEXT.replace(mask_ratio=0.9),
)
ONE_FRAME: Changes = {"pretext": {"magnitude": False, "intervals": (1,)}}


def _ablation(name: str, description: str, base: Recipe, changes: Changes | None = None) -> Callable[[], Recipe]:
    """Return an ablation.

    Args:
        name: Name of the recipe.
        description: What differs.
        base: Recipe to change.
        changes: New values by part of the recipe and field.
    """

    def recipe() -> Recipe:
        parts = {part: getattr(base, part).replace(**values) for part, values in (changes or {}).items()}
        return base.replace(name=name, **parts)

    recipe.__doc__ = description
    return recipe


def _gl_ablation(name: str, description: str, changes: Changes, base: Recipe = GL_NW_UCLA) -> Callable[[], Recipe]:
    return _ablation(f"gl_transformer/ablation/{name}", f"GL-Transformer: {description}", base, changes)


def _motion_ablation(name: str, description: str, **pretext: Any) -> Callable[[], Recipe]:
    name = f"motion_transformer/ablation/{name}"
    return _ablation(name, f"Motion-Transformer: {description}", MOTION_NW_UCLA, {"pretext": pretext})


def _ha_cm_ablation(
    name: str, description: str, encoder: Mapping[str, Any] | None = None, **pretext: Any
) -> Callable[[], Recipe]:
    changes = {"pretext": pretext, "encoder": encoder or {}}
    return _ablation(f"ha_cm/ablation/{name}", f"HA-CM: {description}", HA_CM_NW_UCLA, changes)


ABLATIONS = (
    _gl_ablation("full", "the paper's final choice (Table 1 row 6, Table 2 trainable tight).", {}),
    _gl_ablation("mixed", "Table 1 row (1), whole positions.", {**ONE_FRAME, "preprocessor": {"parts": "mixed"}}),
    _gl_ablation("local", "Table 1 row (2), local motion only.", {**ONE_FRAME, "preprocessor": {"parts": "local"}}),
    _gl_ablation("direction", "Table 1 row (3), local and global motion.", ONE_FRAME),
    _gl_ablation("magnitude", "Table 1 row (4), direction and magnitude.", {"pretext": {"intervals": (1,)}}),
    _gl_ablation("intervals_1_5", "Table 1 row (5).", {"pretext": {"intervals": (1, 5)}}),
    _gl_ablation("intervals_1_5_10_15", "Table 1 row (7).", {"pretext": {"intervals": (1, 5, 10, 15)}}),
    _gl_ablation("positions_fixed", "Table 2, fixed position embedding.", {"encoder": {"pos_embed": "fixed"}}),
    _gl_ablation("positions_once", "Table 2, position embedding added once.", {"encoder": {"pos_embed": "once"}}),
    _gl_ablation("fixed_length", "every clip resampled to 50 frames.", {"preprocessor": {"num_frames": 50}}),
    _gl_ablation("persons_on", "Table 2, persons attend to one another (SBU).", {}, GL_SBU),
    _gl_ablation(
        "persons_off", "Table 2, persons attend to themselves only (SBU).", {"encoder": {"person_to_person": False}},
        GL_SBU,
    ),
    _gl_ablation("input_metres", "positions in metres, each clip rotated by its average heading.", {}, GL_INPUT),
    _gl_ablation(
        "input_view", "positions in metres, view by the first frame.",
        {"preprocessor": {"heading": "none", "view": "first"}}, GL_INPUT,
    ),
    _gl_ablation(
        "input_predict_cluster", "as Predict & Cluster: view by the first frame, every axis scaled, stride.",
        {"preprocessor": PREDICT_CLUSTER}, GL_INPUT,
    ),
    _gl_ablation(
        "input_predict_cluster_uniform", "as Predict & Cluster, but with one scale for all axes.",
        {"preprocessor": PREDICT_CLUSTER | {"scale": "clip"}}, GL_INPUT,
    ),
    _gl_ablation(
        "input_ctr_gcn", "camera view, every axis scaled, 52 frames (CTR-GCN), rotated about the vertical in training.",
        {"preprocessor": {"heading": "none", "scale": "axis", "num_frames": 52, "max_frames": 52},
         "augmentation": {"yaw": 1.05}}, GL_INPUT,
    ),
    _motion_ablation("seen", "octants, input unchanged.", corrupt_input=False),
    _motion_ablation("flow", "real-valued flow at masked frames.", objective="flow"),
    _motion_ablation("pose", "the masked frames themselves, in blocks of four.", objective="pose", block_length=4),
    *(
        _ha_cm_ablation(
            f"{hierarchy}_{temporal}", f"odd segments by {hierarchy}, even segments by {temporal}.",
            hierarchy=hierarchy, temporal=temporal,
        )
        for hierarchy in ("hyperbolic", "graph", "random")
        for temporal in ("attention", "motion", "random")
    ),
    _ha_cm_ablation("no_contrast", "without the contrastive loss.", contrast=0.0),
    _ha_cm_ablation("keep_low", "tokens with high scores are masked, drawn as in MAMP.", visible="low"),
    _ha_cm_ablation("ranked", "ranks in place of scores.", ranks="clip", temperature=0.3),
    _ha_cm_ablation("low_curvature", "a ball of curvature -0.1.", {"curvature": 0.1}),
    _ha_cm_ablation("scaled_map", "tokens scaled by 0.25 before the ball.", {"ball_scale": 0.25}),
    _ha_cm_ablation("frozen_attention", "attention of random projections.", attention_source="frozen"),
    _ha_cm_ablation("no_ball", "tokens not mapped; only distances are taken in the ball.", {"ball": False}),
    _ha_cm_ablation(
        "mamp", "MAMP's masks: one group, tokens that move are masked.", groups=1, temporal="motion", visible="low",
        contrast=0.0,
    ),
)  # fmt: skip
