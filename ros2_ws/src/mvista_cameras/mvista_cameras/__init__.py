"""Femto Bolt capture behind the `FrameSource` port; its emulation and recordings beside it."""
