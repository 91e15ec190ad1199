"""The `voice` command. Each module is a command or a part of one.

May import: everything in `api`, once the command runs: `voice --help` must be quick. Open first: main.py.
"""
