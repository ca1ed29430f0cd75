"""Every setting: its row, where it may be given, and what it becomes.

Values come from flags, the environment and nearhit.toml, in that order, and end as one frozen
Config, or as a list of every mistake with its place. Pure: reads text that it is given, opens
nothing. cli/ builds the Config; process/ hands its values down, never the Config itself."""
