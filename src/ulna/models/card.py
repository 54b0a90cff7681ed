"""The model card: what a model is, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ulna.core import readable

if TYPE_CHECKING:
    from ulna.models.folder import ModelConfig


def model_card(config: ModelConfig, num_parameters: int) -> str:
    """Return the text of a model's README.md.

    Args:
        config: The model's configuration.
        num_parameters: Number of parameters of the encoder.
    """
    recipe, data = config.recipe, config.data
    source = ", ".join(
        f"{name} {value}" for name, value in data.source.items() if name in ("format", "acknowledgement")
    )
    minutes = "" if config.training_seconds is None else f"{config.training_seconds / 60:.1f} minutes, "
    start = config.start
    started = [] if start is None else [f"| started from | {readable(start.recipe)}, data {start.fingerprint} |"]
    lines = [
        f"# {readable(recipe.name)}",
        "",
        "An encoder of skeleton sequences, pretrained without labels with ulna (`pip install ulna`).",
        "",
        "| | |",
        "|---|---|",
        f"| encoder | {type(recipe.encoder).__qualname__.partition('.')[0]}, {num_parameters:,} parameters |",
        f"| pretext task | {type(recipe.pretext).__qualname__.partition('.')[0]} |",
        f"| skeleton | {readable(config.skeleton.name)}, {config.skeleton.num_joints} joints, "
        f"up to {config.num_persons} persons |",
        f"| input | {type(recipe.preprocessor).__qualname__.partition('.')[0]}, at most "
        f"{recipe.preprocessor.max_frames} frames at {data.fps:g} frames per second |",
        f"| pretrained on | {data.num_clips:,} clips, {data.num_frames:,} frames, fingerprint {data.fingerprint} |",
        f"| data | {readable(source, 300)} |",
        *started,
        f"| training | {minutes}{readable(config.provenance.machine, 200)} |",
        "",
        "```python",
        "import ulna",
        "",
        'model = ulna.load("this folder")',
        "vectors = model.embed(clips)",
        "```",
        "",
    ]
    return "\n".join(lines)
