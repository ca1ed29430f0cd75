"""Connections to the server.

Dialling and the handshake, a lane with the slots that wait on it, the pool of lanes, the tracked
lane with what it is told of changed keys, and the questions that the proxy itself asks. Refuses to
choose: which request takes which lane is session/'s to say, what a change means is told to those
who watch."""
