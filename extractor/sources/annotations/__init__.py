"""Annotations of photos: from names and folders, from sheets, from files beside them."""
