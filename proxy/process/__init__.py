"""One serving process, and those that share a port.

Builds everything below and hands it what it needs, owns every task, learns what the server is,
listens, and ends in order; workers and the embedded server are processes of their own. The only
room that knows the commands by import. Called by cli/."""
