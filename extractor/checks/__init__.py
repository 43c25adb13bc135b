"""The store, the photos and the machine, looked at."""
