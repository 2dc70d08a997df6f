"""What people and pipelines ask about a canary: gate and compare."""
