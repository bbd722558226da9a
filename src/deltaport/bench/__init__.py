"""Measuring an engine: how fast it reads and writes, and what it asks of the machine's memory."""
