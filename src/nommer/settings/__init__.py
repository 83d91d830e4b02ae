"""Everything that people say to a verb: one frozen dataclass per verb and part; no torch."""
