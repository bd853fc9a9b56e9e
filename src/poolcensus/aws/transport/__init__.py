"""How the bytes of a call travel."""
