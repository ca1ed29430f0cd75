"""The HTTP API beside RESP: the same operations, run with the same words.

Reads requests and bodies, answers JSON, serves /healthz, /readyz and /metrics. Knows nothing of
sessions and lanes: process/ hands in one function that runs a command, and what else it may ask.
Refuses what it does not understand with 400 and the reason."""
