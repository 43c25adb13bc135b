"""Petrieve embeds pet photos once; then it knows what is in them, and finds the pets that look alike."""
