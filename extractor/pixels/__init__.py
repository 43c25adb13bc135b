"""The bytes of one photo, made upright pixels and views."""
