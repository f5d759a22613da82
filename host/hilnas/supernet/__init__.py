"""Supernets: one set of weights that holds every architecture of a space."""
