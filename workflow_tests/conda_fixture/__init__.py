"""Rattler, not conda: a channel and a front end with conda's command line, for tests where conda is out of reach."""
