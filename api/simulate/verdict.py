"""A judge's answer to one criterion."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Verdict(BaseModel):
    """What the judge finds about one criterion."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    passed: bool = Field(alias="pass", description="Whether the criterion holds.")
    reason: str = Field(description="Why, in one sentence.")
    quote: str = Field("", description="The words of the conversation that show it, as they stand there.")
