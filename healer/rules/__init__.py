"""The rule language: how rules are written, read, checked and explained."""
