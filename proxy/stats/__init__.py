"""What is counted and what is shown of it.

A row for each counter and gauge of this process, the hits and misses of the whole fleet, which are
kept in the server, and the same rows for Prometheus; spans for OpenTelemetry. Whoever sees a thing
happen counts it, once; nothing is decided by a number kept here."""
