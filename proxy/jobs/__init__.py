"""Work that runs behind its request: its states, its bounds, and who may see it.

    jobs.py   the jobs of this process, and those of one db and user as commands have them
    board.py  what the workers of a proxy show each other of theirs

Knows no command: what a job does, and how far it has come, it is handed."""
