"""The instructor's board: who is where, made of what the course teaches. docs/board.md says how."""
