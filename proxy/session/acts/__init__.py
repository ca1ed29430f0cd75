"""What each request that is not simply forwarded does to its session.

One function for each route of table/, by subject; conduct.py has the table of them. An act does its
work and returns True, or finds that it must wait, stalls the session and returns False with nothing
done: it is then offered the same request again. Called by Session.special alone."""
