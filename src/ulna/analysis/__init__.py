"""Floor 9: figures, tables and the report."""

from typing import TYPE_CHECKING

from ulna.core import lazy_attributes

_PUBLIC = {
    "write_attention": "ulna.analysis.attention_page:write_attention",
    "write_masks": "ulna.analysis.masks_page:write_masks",
    "write_report": "ulna.analysis.report:write_report",
    "write_robustness": "ulna.analysis.robustness:write_robustness",
}
__all__ = ["write_attention", "write_masks", "write_report", "write_robustness"]

if TYPE_CHECKING:
    from ulna.analysis.attention_page import write_attention
    from ulna.analysis.masks_page import write_masks
    from ulna.analysis.report import write_report
    from ulna.analysis.robustness import write_robustness


__getattr__ = lazy_attributes(__name__, _PUBLIC)
