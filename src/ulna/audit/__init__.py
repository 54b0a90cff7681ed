"""Leak audit: test clips that are copies, exact or near, of clips that were trained on."""

from ulna.audit.leak_audit import Audit, Match, audit
from ulna.audit.near_copies import ClipSet

__all__ = ["Audit", "ClipSet", "Match", "audit"]
