"""What every other package of the stack agrees on: records, ports, errors, geometry, time.

Depends on NumPy and PyYAML only and knows nothing of ROS, torch, simulators or devices.
"""
