"""What rules write about the status of a model, another trigger that healer asks for."""

from typing import Annotated, Any, Self

from pydantic import Field, ValidationInfo, model_validator

from healer.model.duration import Duration, say
from healer.rules.form import Listed, Model, Text, Whole, fault
from healer.rules.probe import Every
from healer.rules.vocabulary import DEFAULT_SERVER, ModelCondition, ServerName, ServerSpec, Vocabulary


class Generate(Model):
    """Asking an idle engine for one token, which finds a hang that begins while the engine has nothing to do."""

    every: Annotated[Duration, Field(ge=10, le=3600)] = 60.0
    """An engine is asked when it has had nothing to do for so long. After each request in a row that brings no token the pause
    is twice as long, up to 1h."""
    within: Annotated[Duration, Field(ge=1, le=30)] = 20.0  # an action waits for a look, and not for ever (action_timeout)
    """A request that is not answered within this is closed, and is a miss."""
    misses: Annotated[Whole, Field(ge=2, le=10)] = 3
    """EngineStalled: so many misses in a row, and no step of the engine meanwhile."""


class ServedModel(Model):
    """The status of a model, as the server in each pod reports it."""

    name: Text
    """The model's name."""
    server: ServerName = DEFAULT_SERVER
    """Which of the [model servers](#model-servers) runs in the pods."""
    conditions: Annotated[tuple[ModelCondition, ...], Field(min_length=1), Listed] = ("ModelNotAvailable", "ModelStuckLoading")
    """Any of these conditions of the server. The default is that of the server `tensorflow`; each server has its own."""
    version: Annotated[Whole, Field(ge=0)] | None = None
    """The version that must be served, for the conditions that are about one: ModelVersionMissing."""
    port: Annotated[Whole, Field(ge=1, le=65535)] = 8501
    """The port that the server answers at. The default is that of the server `tensorflow`; each server has its own."""
    every: Every = 30.0
    """Time between two requests to a pod."""
    loading: Annotated[Duration, Field(gt=0)] = 300.0
    """ModelStuckLoading, ModelStuckStarting, EngineStuckStarting: it is loading for longer. The default is that of the server
    `tensorflow`."""
    stalled: Annotated[Duration, Field(gt=0)] = 120.0
    """EngineStalled, EngineUnhealthy: the engine does nothing for longer, at two looks or more."""
    generate: Generate | None = None
    """EngineStalled of the server `vllm`: also [ask idle engines for a token](#generate); `generate: {}` takes the defaults.
    Without it healer sends no such request."""

    @model_validator(mode="before")
    @classmethod
    def _as_its_server(cls, data: Any, info: ValidationInfo) -> Any:
        """Fill in what the server that the rule names has as its default, unless the rule writes it."""
        known: Vocabulary | None = info.context
        if known is None or not isinstance(data, dict):
            return data
        name = data.get("server", DEFAULT_SERVER)
        server = known.servers.get(name) if isinstance(name, str) else None
        if server is None:
            return data
        return {"port": server.port, "conditions": list(server.usual), "loading": say(server.loading), **data}

    @model_validator(mode="after")
    def _wanted(self, info: ValidationInfo) -> Self:
        known: Vocabulary | None = info.context
        if known is None:
            return self
        server = known.servers[self.server]
        if self.version is not None and not server.of_version:
            raise fault(f"server {self.server} reports no versions", "delete the line", ("version",))
        if "stalled" in self.model_fields_set and not server.has_heartbeat:
            raise fault(f"the engine of server {self.server} cannot be seen to stand still", "delete the line", ("stalled",))
        if self.generate is not None:
            self._asked_for_tokens(self.generate, server)
        if any(name in self.conditions for name in server.of_version) != (self.version is not None):
            names = " or ".join(server.of_version)
            raise fault(f"{names} and version belong together", "give both, or neither", ("version",))
        return self

    def _asked_for_tokens(self, generate: Generate, server: ServerSpec) -> None:
        """Raises the error of a `generate` that does not fit the rest."""
        if not server.token_request:
            raise fault(f"server {self.server} is not asked for tokens", "delete the key", ("generate",))
        decides = [name for name, condition in server.conditions.items() if condition.by_heartbeat]
        if not any(name in self.conditions for name in decides):
            names = " or ".join(decides)
            raise fault(
                f"generate is for {names}, which is not among the conditions", f"add {names}, or delete the key", ("generate",)
            )
        if generate.within >= self.every:
            hint = f"make `every` of the model longer, or write generate: {{within: ...}} below {say(self.every)}"
            raise fault(
                f"a look may take as long as generate.within ({say(generate.within)}), and every is {say(self.every)}",
                hint,
                ("generate",),
            )
