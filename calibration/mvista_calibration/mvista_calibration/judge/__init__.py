"""Whether an answer may be used, and whether an older one still holds."""
