"""The meaning of AWS's errors."""
