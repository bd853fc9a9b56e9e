"""Transports: how a call is sent and its reply received."""
