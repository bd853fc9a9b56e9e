"""With whose credentials a call is made, and how they are got."""
