"""The record: what the daemon saw and did, in files, so that `healer replay` can feed it to other rules."""
