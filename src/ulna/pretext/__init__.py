"""Pretext tasks, one class per module."""

from ulna.core import NameTable
from ulna.pretext.base import Pretext
from ulna.pretext.flow import Flow
from ulna.pretext.ha_cm import HACM
from ulna.pretext.mpdp import MPDP

PRETEXTS = NameTable(
    "pretext task",
    {
        "mpdp": "ulna.pretext.mpdp:MPDP",
        "flow": "ulna.pretext.flow:Flow",
        "ha_cm": "ulna.pretext.ha_cm:HACM",
    },
)

__all__ = ["HACM", "MPDP", "PRETEXTS", "Flow", "Pretext"]
