"""The command ``nearhit``: serve, check, warm, invalidate.

Reads the command line, says what is wrong with it and how it ended (exit codes), shows progress.
Refuses to serve: that is process/, started from here. What it asks a running proxy, it asks as any
client would."""
