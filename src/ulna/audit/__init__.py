"""Leak audit: find test clips that are exact or near copies of training clips."""

from ulna.audit.leak_audit import Audit, Match, audit
from ulna.audit.near_copies import ClipSet

__all__ = ["Audit", "ClipSet", "Match", "audit"]
