"""Set-points of the whole graph at work, as a driver gets them."""
