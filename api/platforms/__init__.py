"""The voice platforms: each is a folder with its wire models, its authentication and its routes.

May import: settings, operations. Open first: layercode/webhook.py. A new platform is a folder beside layercode/.
"""
