"""The canary judge: whether a canary is worse than its stable version. Pure."""
