"""The tests of deltaport, one package so that helpers are imported as ``tests.<room>.<module>``."""
