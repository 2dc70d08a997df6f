"""The lab's controllers: small versions of a cluster's controllers, driven by changes of the store."""
