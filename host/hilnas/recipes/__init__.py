"""Recipes that ship, by the name of their file."""
