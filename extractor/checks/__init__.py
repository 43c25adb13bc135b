"""Checks of the store, the photos and the machine."""
