"""layercode-gym against a server, in an environment of its own: gym.py SERVER FOLDER TEXT… It prints the id of the
conversation."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from pathlib import Path

os.environ.update(LAYERCODE_AGENT_ID="ag-123456", LAYERCODE_STORE_AUDIO="false", LOGFIRE_SEND_TO_LOGFIRE="false")

from layercode_gym import LayercodeClient, Settings, UserSimulator  # type: ignore[import-not-found]


async def main(server: str, folder: str, *said: str) -> None:
    settings = dataclasses.replace(
        Settings.load(),
        server_url=server,
        websocket_url=f"{server.replace('http', 'ws', 1)}/layercode/v1/agents/web/websocket",
        output_root=Path(folder),
    )
    simulator = UserSimulator.from_text(list(said), send_as_text=True)
    print(await LayercodeClient(simulator, settings=settings).run())


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 90))
