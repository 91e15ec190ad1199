"""The agent: the state machine, its model, its memory, its voice. What a tool file imports is here."""

from agent.tooling import (
    EndedCall,
    EndedToolCall,
    NotSupported,
    ToolContext,
    TranscriptLine,
    VoiceTool,
    hang_up,
    say,
    send_dtmf,
    show,
    tool_context,
    transfer,
    use_context,
    voice_tool,
)

__all__ = [
    "EndedCall",
    "EndedToolCall",
    "NotSupported",
    "ToolContext",
    "TranscriptLine",
    "VoiceTool",
    "hang_up",
    "say",
    "send_dtmf",
    "show",
    "tool_context",
    "transfer",
    "use_context",
    "voice_tool",
]
