"""Sessions on disk: what to show next, written shot by shot, read or refused."""
