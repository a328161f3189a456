"""The tests mirror src/joulewise; each says in one sentence what holds."""
