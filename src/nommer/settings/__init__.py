"""What a person can say to a verb: one frozen dataclass per verb and per part of it."""
