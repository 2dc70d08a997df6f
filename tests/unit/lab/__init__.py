"""The lab's own parts, where the contract does not reach them."""
