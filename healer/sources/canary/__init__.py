"""Canary rules: looks at a canary's traffic become the judge's verdict."""
