"""Cache-aside: one load of a key at a time, here and across all proxies.

Flights (a load and who waits for it), leases (the right to load, also for clients that compute the
value themselves), the gate that bounds how many loads run, and the loaders with their sources.
Knows no session. commands/ ask through the protocols of custom/; session/ keeps what is built here,
one of each for a db and user, and voids it when a write passes."""
