"""Locks: who waits for which, who holds it, and what becomes of a grant that nobody takes.

The scripts in lua/ decide; here stand the lines of those who wait, the attempts, and the grants to
give back. One Locks for each db and upstream user. Knows no session: commands/lock.py calls."""
