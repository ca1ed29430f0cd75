"""A client's connection, and all clients together.

Session takes what hot/ does not: modes, lanes of its own, large requests, the end. What each kind
of request does to a session is in acts/; which db and user has which flights and locks is Scopes.
Refuses to know sockets of the server (upstream/) and commands by name (commands/), but for
GETORSET, whose read acts/own.py asks itself."""
