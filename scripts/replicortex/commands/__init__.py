"""Commands of ``replicortex``: the name of a command is the name of a file, and there is no list of them."""
