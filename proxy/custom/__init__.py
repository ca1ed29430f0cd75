"""What a command of the proxy's own is.

Its facts, how its words are read, what it may use as it runs, and how COMMAND tells of it. Pure:
commands/ is written against this room, keys/, resp/ and the errors, and against nothing else.
session/ and http/ run what it describes; no command is known here by name."""
