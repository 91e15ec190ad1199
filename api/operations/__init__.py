"""Running a server: uvicorn and its workers, connections, rate limits, logs, metrics, traces, health.

May import: settings. Open first: server.py.
"""
