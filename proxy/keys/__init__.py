"""How keys are called, and what matches them.

Globs, the braces of the command line, the captures of a loader's match, and the names of the keys
that Nearhit itself keeps in the server. Pure: words in, words out. Knows no command, no connection
and no setting. Called from every room above that has to read a key."""
