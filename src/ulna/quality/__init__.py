"""Quality of recordings before training: what is missing or implausible, what to do about it, and repair."""

from ulna.quality.measures import ClipQuality, measure
from ulna.quality.repair import Repair, repair
from ulna.quality.summary import QualityReport, plausibility, summarise, summarise_measures

__all__ = [
    "ClipQuality",
    "QualityReport",
    "Repair",
    "measure",
    "plausibility",
    "repair",
    "summarise",
    "summarise_measures",
]
