"""How a call of one of our ops becomes nodes that a backend runs, and what backends share."""
