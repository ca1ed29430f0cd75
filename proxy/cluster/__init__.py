"""A cluster that looks like one server.

Which node owns which slot and how that is learned, where each command goes, how requests of several
slots are cut and their replies put together, and the lanes that do it, which sessions use as those
of one server. Redirections end here: no client sees one.
Owns no connection of its own: upstream/ makes those. With one server nothing here is used, and
session/ does not know the difference."""
