"""An Orbbec SDK without a camera: the names that `orbbec.py` uses, over a rendered scene."""
