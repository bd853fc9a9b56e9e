"""The engine: runs each target to exactly one outcome. It knows no service."""
