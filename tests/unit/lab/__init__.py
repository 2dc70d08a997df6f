"""Tests of the parts of the lab that the contract does not cover."""
