"""Passes that change nothing and raise ``PassError`` where a contract is broken."""
