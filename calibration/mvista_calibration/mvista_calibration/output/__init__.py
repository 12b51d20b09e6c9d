"""The answer as files and as a report."""
