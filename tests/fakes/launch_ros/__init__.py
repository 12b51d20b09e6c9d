"""Keeps what a launch file describes."""
