"""Layercode: signed webhooks in, server-sent events out.

May import: settings, operations, the modules that platforms share. Open first: webhook.py, then events.py.
"""
