"""The agent: the state machine, its model, its memory, its voice. What a tool file imports is here."""

from agent.tooling import ToolContext, VoiceTool, say, show, tool_context, use_context, voice_tool

__all__ = ["ToolContext", "VoiceTool", "say", "show", "tool_context", "use_context", "voice_tool"]
