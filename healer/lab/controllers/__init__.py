"""The lab's controllers: small ones, of the controllers that a cluster runs, driven by changes of the store."""
