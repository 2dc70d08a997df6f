"""The checks of `healer check --cluster`."""
