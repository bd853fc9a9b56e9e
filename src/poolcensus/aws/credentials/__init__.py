"""The credentials that calls are made with: the caller's, a profile's, or a role's."""
