"""Imagine, infer, gate, execute: the planning process and the task node."""
