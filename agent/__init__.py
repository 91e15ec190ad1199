"""The agent: the state machine, its model, its memory, its voice. What a tool file imports is here."""

from agent.tooling import (
    NotSupported,
    ToolContext,
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
    "NotSupported",
    "ToolContext",
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
