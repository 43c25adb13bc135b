"""What runs sources, pixels and trunk: on this machine."""
