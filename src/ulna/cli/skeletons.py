"""ulna skeletons"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.options import run
from ulna.core import SKELETONS, match_joints


def skeletons(*, name: str | None = None, matching: bool = False, out: Path | None = None) -> None:
    """List the known joint sets, and draw them.

    Args:
        name: Name of a skeleton whose joints are listed with their parents and counterparts on the other side.
        matching: Print how many joints of each skeleton (columns) have a counterpart in each other one (rows).
        out: Image to write (.png or .svg), with a drawing of every skeleton.
    """
    from ulna.core import get_skeleton

    if name is not None:
        chosen = get_skeleton(name)
        for k, joint in enumerate(chosen.joints):
            parent = chosen.joints[chosen.parents[k]] if chosen.parents[k] >= 0 else "-"
            computed = f"  mean of {', '.join(chosen.computed[joint])}" if joint in chosen.computed else ""
            mirror = chosen.joints[chosen.mirror[k]] if chosen.mirror[k] != k else ""
            print(f"{k:3}  {joint:18} {parent:18} {mirror:18}{computed}")
    elif matching:
        print(f"{'':15}" + "".join(f"{number:4}" for number in range(1, len(SKELETONS) + 1)))
        for number, (own, source) in enumerate(SKELETONS.items(), 1):
            counts = [sum(j is not None for j in match_joints(source, target)) for target in SKELETONS.values()]
            print(f"{number:2} {own:12}" + "".join(f"{count:4}" for count in counts))
    else:
        for own, skeleton in SKELETONS.items():
            computed = f" and {len(skeleton.computed)} computed" if skeleton.computed else ""
            print(f"{own:15} {skeleton.num_recorded} joints{computed}, centre {skeleton.centre}")
    if out is not None:
        from ulna.analysis.skeleton_figure import draw_skeletons

        print(draw_skeletons([get_skeleton(name)] if name else list(SKELETONS.values()), out))


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(skeletons, arguments, prog="skeletons")
