"""The seams: each is proved by a test that adds one at run time, in one file, and uses it."""
