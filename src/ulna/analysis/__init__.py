"""Floor 9: figures and the report."""

from typing import TYPE_CHECKING

from ulna.core import lazy_attributes

__all__ = ["write_report"]

if TYPE_CHECKING:
    from ulna.analysis.report import write_report


__getattr__ = lazy_attributes(__name__, {"write_report": "ulna.analysis.report:write_report"})
