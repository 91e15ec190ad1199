"""Gemini: the fast path over langchain-google-genai, its requests, its stream, its connections.

May import: turns. Open first: chat_model.py. The private names of the libraries are in library.py alone, and
self_check.py compares the fast path with the libraries before the first answer.
"""
