"""Demonstrations as episodes that survive a kill, a full disk and a lost terminal."""
