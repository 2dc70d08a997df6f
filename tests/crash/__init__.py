"""The daemon killed at every request that it sends."""
