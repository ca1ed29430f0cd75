"""What is known about each command of the server, and which route its requests take.

Facts out of the server's own COMMAND reply and one overlay; a map of routes for each mode that a
session can be in. Pure. Refuses to act: what a route does to its session is in session/acts/."""
