"""What the errors of AWS mean."""
