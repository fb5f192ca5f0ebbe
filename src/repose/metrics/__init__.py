"""Metrics, one pure function each, with protocols by name; `catalogue` has all of them by name."""
