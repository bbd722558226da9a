"""Training of the demo checkpoint; see README.md in this folder."""
