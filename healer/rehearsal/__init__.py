"""The rehearsal: rules and their engine in virtual time, without a cluster. It plays tests of rules, simulations and records."""
