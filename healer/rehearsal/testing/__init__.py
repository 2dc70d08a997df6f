"""Tests of rules: YAML files beside the rules, which `healer test` plays in virtual time."""
