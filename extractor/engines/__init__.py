"""What runs sources, pixels and trunk: on this machine, or on the workers of a Ray cluster."""
