"""What the results of targets say together: which failures there are, and which of them are expected."""
