from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field


class StorageSettings(BaseModel):
    """Storage and tools"""

    database_url: str = Field(
        default="sqlite:///voice.db",
        repr=False,  # may hold a password
        description="`sqlite:///relative.db` or `sqlite:////absolute/path.db` for one process;"
        " `postgresql://user:password@host/database` for several, with the extra `postgres`. Percent-encode special"
        " characters in the password.",
    )
    retention_days: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Days without activity after which a conversation is deleted. Empty: conversations are kept for"
        " ever.",
    )
    tools_dir: Path = Field(default=Path("tools"), description="The folder in which the tool files are.")
    mcp_servers: Path | None = Field(
        default=None,
        description="A JSON file that names MCP servers, whose tools are added; needs the extra `mcp`. `${NAME}` in it"
        " is replaced by a variable, which must be set.",
    )
    record_runs: Path | None = Field(
        default=None,
        description="A folder in which every conversation becomes a run file once it has been idle for a moment. The"
        " files hold transcripts. Empty: nothing is recorded.",
    )
