"""The verbs of the command line: each reads its options and calls one function of another room."""
