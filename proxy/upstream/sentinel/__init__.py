"""The master that Sentinels name: who it is, and at once when it is another.

    Links ─ answers ─▶ decided ─▶ Watch ─▶ Naming ─▶ MasterDial ─▶ lanes
          ─ events ──▶ told_of ──┘

Owns the list of Sentinels and the connections to them. Never holds data, and never dials an
address that no Sentinel names: lanes dial, by MasterDial, and ask ROLE themselves."""
