"""Routes: what splits the traffic between a stable version and its canary."""
