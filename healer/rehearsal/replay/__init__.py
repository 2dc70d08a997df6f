"""The replay: what other rules would have done, by a record of healer or by the history that Prometheus has."""
