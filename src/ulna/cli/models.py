"""ulna models"""

from __future__ import annotations

from collections.abc import Sequence

from ulna.cli.options import run


def models() -> None:
    """List the encoders inside the package: size, licence, data, and accuracy on data they have not seen."""
    from ulna.models.names import BUILT_IN, built_in_models, built_in_size

    for name, model in built_in_models().items():
        num_parameters, num_bytes = built_in_size(name)
        print(f"{BUILT_IN}{name}")
        rows = {
            "summary": model.summary,
            "size": f"{num_parameters / 1e6:.1f} million parameters, {num_bytes / 1e6:.1f} MB",
            "licence": model.licence,
            "data": model.pretrained_on,
            "measured": f"{model.measured}: "
            + ", ".join(
                f"{data} {own.model:.1f} ({own.random_init:.1f}, {own.raw_joints:.1f})"
                for data, own in model.accuracy.items()
            ),
            "sha256": model.sha256,
        }
        for key, text in rows.items():
            print(f"  {key:9} {text}")
        print(f'\n  ulna.load("{BUILT_IN}{name}").embed(clips)\n  ulna fit {BUILT_IN}{name} --data DATASET --out MODEL')
    print("\nModels on the Hugging Face Hub: hf://OWNER/NAME@COMMIT")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(models, arguments, prog="models")
