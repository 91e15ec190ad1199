"""The web side: HTTP, platforms, the command line. It knows no LangChain and no LangGraph.

Open first: app.py, which puts the application together from settings.py and wiring.py.
"""
