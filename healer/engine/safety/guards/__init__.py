"""The guards: each objects to an action, or does not, and says why. `registry` has their order."""
