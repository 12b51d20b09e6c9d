"""The ChArUco board: drawn, printed, found in a picture."""
