"""Lenses, cameras, robot and depth from a session, each with its covariance."""
