"""Recorded runs over the real web application: playing them, comparing with a live model, recording on a server.

May import: platforms, operations, wiring. Open first: player.py.
"""
