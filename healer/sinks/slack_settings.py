"""The knobs of the Slack sink."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class SlackSettings(BaseModel):
    """Times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token_file: Path = Field(description="File with the bot token (xoxb-...), read again when it changes.")
    channel: str = Field(min_length=1, description="Channel for rules whose `notify` names none.")
    base_url: str = Field(default="https://slack.com/api/", description="Where Slack's Web API is.")
    timeout: float = Field(default=10.0, gt=0, description="For one call.")
    backoff: float = Field(default=1.0, gt=0, description="First wait after Slack could not be reached; doubled each time.")
    backoff_most: float = Field(default=60.0, gt=0, description="Longest such wait.")
    reconsider: float = Field(
        default=300.0, gt=0, description="Before a message that Slack refused is tried again; doubled, too."
    )
    settle: float = Field(default=3.0, ge=0, description="After which Slack surely shows a message that it took.")
    patience: float = Field(default=30.0, ge=0, description="To wait for the journal before an incident's message is posted.")
    capacity: int = Field(default=1000, gt=0, description="Threads that are remembered.")
