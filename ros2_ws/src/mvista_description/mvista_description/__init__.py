"""URDF of the cell, from the arm file's DH table and the rig file's camera poses."""
