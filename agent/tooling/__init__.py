"""Tools: the decorator, the folder they are loaded from, running a call at most once, MCP servers.

May import: storage, llm, turns, observer. Open first: decorator.py for what a tool's author uses, runner.py for what
happens to a call, also on barge-in. mcp.py needs the extra `mcp` and is imported only when MCP servers are configured.
"""

from __future__ import annotations

from agent.tooling.call import ToolCall, ToolResult, ToolRun, fault_in, first_call, first_to_confirm, unknown_tool
from agent.tooling.call_control import NotSupported, hang_up, send_dtmf, transfer
from agent.tooling.decorator import (
    ToolContext,
    VoiceTool,
    offered,
    options_of,
    say,
    show,
    tool_context,
    use_context,
    voice_tool,
)
from agent.tooling.folder import ToolFileError, ToolFolder
from agent.tooling.mcp_config import McpFileError, ServerConfig, load_servers
from agent.tooling.runner import Perform, ToolRunner

__all__ = [
    "McpFileError",
    "NotSupported",
    "Perform",
    "ServerConfig",
    "ToolCall",
    "ToolContext",
    "ToolFileError",
    "ToolFolder",
    "ToolResult",
    "ToolRun",
    "ToolRunner",
    "VoiceTool",
    "fault_in",
    "first_call",
    "first_to_confirm",
    "hang_up",
    "load_servers",
    "offered",
    "options_of",
    "say",
    "send_dtmf",
    "show",
    "tool_context",
    "transfer",
    "unknown_tool",
    "use_context",
    "voice_tool",
]
