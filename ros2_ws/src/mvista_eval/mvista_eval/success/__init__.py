"""Success of the whole pipeline in process, and what limits it."""
