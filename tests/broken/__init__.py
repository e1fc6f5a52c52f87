"""Things that are broken on purpose, each in one way, with the check that has to name the fault."""
