"""The rule packs in rules/, each rule in the engine alone: once where it heals, once where it must hold back."""
