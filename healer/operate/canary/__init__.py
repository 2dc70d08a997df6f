"""The verbs on a canary, for people and pipelines: gate and compare."""
