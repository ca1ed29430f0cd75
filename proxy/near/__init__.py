"""The near cache's store: replies by key, within a budget, and the sketch of what was read lately.

Compiled where a compiler was at hand; plain Python all the same. Knows no connection and no clock:
``now`` is passed in, and hot/ and upstream/ tell it what was filled and what has changed, in the
order of the wire. Refuses to decide who may read near: that is hot/ and session/."""
