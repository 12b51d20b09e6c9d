"""Teleoperation, measured on two emulated arms."""
