"""The command that runs, tests and compares the steps of this course."""
