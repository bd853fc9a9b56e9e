"""The services that the simulator answers for."""
