"""Tools: the decorator, the folder they are loaded from, running a call at most once, MCP servers.

May import: storage, speech, turns. Open first: decorator.py for what a tool's author uses, runner.py for what
happens to a call, also on barge-in. mcp.py and mcp_tools.py need the extra `mcp`, and are imported only where MCP
servers are configured or were recorded.
"""

from __future__ import annotations

from agent.tooling.call import ToolCall, ToolResult, ToolRun
from agent.tooling.call_control import NotSupported, hang_up, send_dtmf, transfer
from agent.tooling.check import recorded_outcome
from agent.tooling.decorator import (
    ToolContext,
    VoiceTool,
    acts,
    fill,
    offered,
    options_of,
    say,
    show,
    tool_context,
    use_context,
    voice_tool,
)
from agent.tooling.ended_call import CallEnded, EndedCall, EndedToolCall, HowEnded, TranscriptLine
from agent.tooling.folder import ToolFileError, ToolFolder
from agent.tooling.gate import GatedCall, through_gate
from agent.tooling.mcp_config import McpFileError, ServerConfig, load_servers
from agent.tooling.names import with_names, without_calls
from agent.tooling.runner import Perform, PerformCheck, ToolRunner
from agent.tooling.sandbox import isolated

__all__ = [
    "CallEnded",
    "EndedCall",
    "EndedToolCall",
    "GatedCall",
    "HowEnded",
    "McpFileError",
    "NotSupported",
    "Perform",
    "PerformCheck",
    "ServerConfig",
    "ToolCall",
    "ToolContext",
    "ToolFileError",
    "ToolFolder",
    "ToolResult",
    "ToolRun",
    "ToolRunner",
    "TranscriptLine",
    "VoiceTool",
    "acts",
    "fill",
    "hang_up",
    "isolated",
    "load_servers",
    "offered",
    "options_of",
    "recorded_outcome",
    "say",
    "send_dtmf",
    "show",
    "through_gate",
    "tool_context",
    "transfer",
    "use_context",
    "voice_tool",
    "with_names",
    "without_calls",
]
