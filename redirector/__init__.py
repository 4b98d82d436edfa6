"""The head node: where every file is, who stages the next one, which datasets there are."""
