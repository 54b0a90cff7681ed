"""The model card: what a model is, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ulna.core import readable
from ulna.formats import FORMATS

if TYPE_CHECKING:
    from ulna.models.folder import ModelConfig, PretrainingData


LIMITS = (
    "The encoder was not tested for bias between groups of people. It is not for identifying people, for surveillance, "
    "or for medical decisions. Accuracy on other sensors, frame rates and kinds of movement than those above must be "
    "measured before it is relied on."
)
CITATION = "Cite ulna (CITATION.cff in its repository), the papers of the methods, and the data above."


def model_card(config: ModelConfig, num_parameters: int, *, measured: Sequence[str] = ()) -> str:
    """Return the text of a model's README.md.

    Args:
        config: The model's configuration.
        num_parameters: Number of parameters of the encoder.
        measured: Lines on what was measured.
    """
    recipe = config.recipe
    minutes = "" if config.training_seconds is None else f"{config.training_seconds / 60:.1f} minutes, "
    start = config.start
    started = [] if start is None else [f"| started from | {readable(start.recipe)}, data {start.fingerprint} |"]
    lines = [
        f"# {readable(recipe.name)}",
        "",
        "An encoder of skeleton sequences, pretrained without labels with ulna.",
        "",
        "| | |",
        "|---|---|",
        f"| encoder | {type(recipe.encoder).__qualname__.partition('.')[0]}, {num_parameters:,} parameters |",
        f"| pretext task | {type(recipe.pretext).__qualname__.partition('.')[0]} |",
        f"| skeleton | {_skeleton(config)} |",
        f"| input | {type(recipe.preprocessor).__qualname__.partition('.')[0]}, {_frames(config)} |",
        *(
            f"| pretrained on | {own.num_clips:,} clips, {own.num_frames:,} frames, fingerprint {own.fingerprint}; "
            f"{readable(_source(own), 600)} |"
            for own in config.all_data
        ),
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
        *measured,
        "## Limits",
        "",
        LIMITS,
        "",
        "## Citation",
        "",
        CITATION,
        "",
    ]
    return "\n".join(lines)


def _skeleton(config: ModelConfig) -> str:
    """Return which skeletons and how many persons a model takes."""
    own = f"{readable(config.skeleton.name)}, {config.skeleton.num_joints} joints"
    if config.recipe.body is None:
        return f"{own}, up to {config.num_persons} persons"
    return f"any human body in two or three dimensions, matched by joint names to {own}; persons are encoded one by one"


def _frames(config: ModelConfig) -> str:
    """Return how many frames a model takes."""
    rate = "" if config.recipe.body is not None else f" at {config.data.fps:g} frames per second"
    return f"at most {config.recipe.preprocessor.max_frames} frames{rate}"


def _source(data: PretrainingData) -> str:
    """Return where a dataset comes from, and its terms of use."""
    source = dict(data.source)
    format = FORMATS[str(source["format"])] if source.get("format") in FORMATS else None
    if format is not None:
        source = {"acknowledgement": format.cite, "terms": format.terms} | source
    known = {name: source[name] for name in ("format", "acknowledgement", "terms") if source.get(name)}
    return "; ".join(f"{name}: {value}" for name, value in known.items())
