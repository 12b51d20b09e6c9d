"""Images across processes: lost, late, and what they cost."""
