"""Analysis: attention, masks, robustness, and the report."""

from ulna.analysis.attention_page import write_attention
from ulna.analysis.card import neighbour_agreement, write_cards
from ulna.analysis.masks_page import write_masks
from ulna.analysis.report import write_report
from ulna.analysis.robustness import write_robustness

__all__ = [
    "neighbour_agreement", "write_attention", "write_cards", "write_masks", "write_report", "write_robustness",
]  # fmt: skip
