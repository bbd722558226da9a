"""Programs for working on deltaport; not installed with it."""
