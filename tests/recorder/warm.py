"""Imported once by the server that children are forked from: what they need is read already."""

from __future__ import annotations

from mvista_recorder import repair, schemas
from tests.recorder import made

__all__ = ["made", "repair"]

schemas.definition(made.JOINTS.type)
