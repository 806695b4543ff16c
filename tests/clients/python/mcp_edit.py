"""Calls of an MCP image server's tools: ``mcp_edit.py ORDER``, both ways JSON."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def _called(order: dict[str, Any]) -> list[dict[str, Any]]:
    server = StdioServerParameters(
        command=str(Path(sys.executable).parent / order["server"]),
        args=["stdio"],
        env={**os.environ, "OPENAI_BASE_URL": order["base_url"], "OPENAI_API_KEY": order["key"]},
    )
    async with stdio_client(server) as pipes, ClientSession(*pipes) as session:
        await session.initialize()
        reported = [await session.call_tool(name, arguments) for name, arguments in order["calls"]]
    return [
        {
            "failed": answer.isError,
            "pictures": [one.data for one in answer.content if one.type == "image"],
            "texts": [one.text for one in answer.content if one.type == "text"],
        }
        for answer in reported
    ]


print(json.dumps(asyncio.run(_called(json.loads(sys.argv[1])))))  # noqa: T201 - its answer
