"""Recipes of NTU RGB+D and PKU-MMD at a paper's size, which we have not measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ulna.models import Recipe

NTU = {
    "ntu60_xsub": ("NTU RGB+D 60, cross-subject", "xsub"),
    "ntu60_xview": ("NTU RGB+D 60, cross-view", "xview"),
    "ntu120_xsub": ("NTU RGB+D 120, cross-subject", "xsub"),
    "ntu120_xset": ("NTU RGB+D 120, cross-setup", "xset"),
}
PKU_MMD = {
    f"pku_mmd{part}_{split}": (f"PKU-MMD {'I' * part}, cross-{title}", split)
    for part in (1, 2)
    for split, title in (("xsub", "subject"), ("xview", "view"))
}


def paper_size(
    method: str, names: Sequence[str], make: Callable[[str, str], Recipe]
) -> tuple[Callable[[], Recipe], ...]:
    """Return one recipe per data set.

    Args:
        method: Name of the method.
        names: Names of data sets and splits.
        make: Returns the recipe of a name and a split.
    """
    return tuple(_recipe(method, name, make) for name in names)


def _recipe(method: str, name: str, make: Callable[[str, str], Recipe]) -> Callable[[], Recipe]:
    title, split = (NTU | PKU_MMD)[name]

    def recipe() -> Recipe:
        return make(f"{method}/{name}", split)

    recipe.__doc__ = f"{title}, at the paper's size. Not measured by us."
    return recipe
