"""The work node: which worker does which part of which file."""
