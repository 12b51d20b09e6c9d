"""Camera and robot calibration without ROS: boards, detect, solve, refine, gate, report."""
