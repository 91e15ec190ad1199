"""A function's signature, or a pydantic model, as the arguments that a model of language can give a tool."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, cast, get_args, get_origin, get_type_hints

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolArg
from langchain_core.tools.base import _is_injected_arg_type, create_schema_from_function
from langgraph.types import Command
from pydantic import BaseModel, PydanticUserError, TypeAdapter, create_model, model_validator
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from agent.tooling.declaration import declare, restore
from agent.tooling.json_schema import Undeclarable

Function = Callable[..., Any]

_INSTEAD = {
    "InjectedToolCallId": "tool_context().call_id",
    "InjectedStore": "tool_context().database",
    "InjectedState": "an argument that the model fills in, or tool_context().metadata",
}


def refuse_function(function: Function) -> None:
    """Undeclarable when this function wants what a tool here does not get, or gives what it must not."""
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise Undeclarable("it yields: speak lines with say(), and return the result")
    hints = _hints(function)
    _refuse_injected(hints)
    if _mentions(hints.get("return"), Command):
        raise Undeclarable("it returns a Command, which steers a graph of your own: return text or JSON instead")


def arguments_of(name: str, function: Function) -> type[BaseModel]:
    """The arguments of a function, as the model is told of them and as they are checked. Undeclarable."""
    refuse_function(function)
    refuse_parameters(function)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")  # an argument named `copy`
        try:
            return told(create_schema_from_function(name, function))
        except PydanticUserError as error:
            raise Undeclarable(f"its arguments cannot be read ({str(error).partition(chr(10))[0]})") from error


def told(model: type[Any]) -> type[BaseModel]:
    """The model, with `declare`'s schema in place of its own, and taking what was told by it. Undeclarable."""
    if not issubclass(model, BaseModel):
        raise Undeclarable("its arguments are a model of pydantic.v1: make it one of pydantic's BaseModel")
    fields = model.model_fields.items()
    _refuse_injected({name: Annotated[(field.annotation, field, *field.metadata)] for name, field in fields})
    schema = _json_schema(model)
    made = cast(type[_Told], create_model(model.__name__, __base__=(_Told, model), __doc__=model.__doc__))
    made.__full__, made.__declared__ = schema, declare(schema)
    return made


def _json_schema(model: type[BaseModel]) -> dict[str, Any]:
    try:
        return model.model_json_schema(schema_generator=_Generator)
    except (PydanticInvalidForJsonSchema, PydanticUserError) as error:
        what = str(error).partition("\n")[0]
        raise Undeclarable(f"{_culprit(model)}it cannot be told to the model ({what})") from error


def _culprit(model: type[BaseModel]) -> str:
    """Which of the fields has no schema."""
    for name, field in model.model_fields.items():
        annotation: Any = Annotated[(field.annotation, field)]
        try:
            TypeAdapter(annotation, config={"arbitrary_types_allowed": True}).json_schema()
        except (PydanticInvalidForJsonSchema, PydanticUserError):
            return f"argument {name!r}: "
    return ""


class _Generator(GenerateJsonSchema):
    ignored_warning_kinds: set[Any] = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - declared there

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """A number; pydantic says that it may be a text too."""
        number = {"type": "number"}
        self.update_with_validations(number, schema, self.ValidationsMapping.numeric)
        return number


def _hints(function: Function) -> Mapping[str, Any]:
    try:
        return get_type_hints(inspect.unwrap(function), include_extras=True)
    except NameError as error:
        raise Undeclarable(f"an annotation names {error.name!r}, which the file does not have when it runs") from error
    except TypeError:  # a callable object, which has no annotations of its own
        return {}


def refuse_parameters(function: Function) -> None:
    """Undeclarable when not every argument has a name that the model can be told."""
    for parameter in inspect.signature(function).parameters.values():
        _refuse_kind(parameter.name, parameter.kind)


def _refuse_kind(name: str, kind: Any) -> None:
    if kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        stars = "*" if kind is inspect.Parameter.VAR_POSITIONAL else "**"
        raise Undeclarable(
            f"argument '{stars}{name}': the model must be told of each argument by its name: write them out"
        )
    if kind is inspect.Parameter.POSITIONAL_ONLY:
        raise Undeclarable(f"argument {name!r}: a tool's arguments are given by name: remove the / behind it")


def _refuse_injected(annotations: Mapping[str, Any]) -> None:
    for name, annotation in annotations.items():
        if injected := _injected(annotation):
            instead = _INSTEAD.get(injected, "tool_context()")
            raise Undeclarable(f"argument {name!r}: {injected} is not supported: use {instead} instead")


def _injected(annotation: Any) -> str | None:
    """The name of what LangChain or LangGraph would put in for the model, if this is such an argument."""
    if annotation is RunnableConfig or _mentions(annotation, RunnableConfig):
        return "RunnableConfig"
    if not _is_injected_arg_type(annotation):
        return None
    kinds = [kind if isinstance(kind, type) else type(kind) for kind in get_args(annotation)[1:]]
    named = next((kind for kind in kinds if issubclass(kind, InjectedToolArg)), None)
    return (named or get_origin(annotation) or annotation).__name__


def _mentions(annotation: Any, kind: type) -> bool:
    here = (annotation, get_origin(annotation))
    return kind in here or any(_mentions(part, kind) for part in get_args(annotation))


class _Told(BaseModel):
    """Arguments that the model was told of as `declare` says it. They validate as those of the class beside it."""

    __full__: ClassVar[dict[str, Any]]
    __declared__: ClassVar[dict[str, Any]]

    @model_validator(mode="before")
    @classmethod
    def _restore(cls, given: Any) -> Any:
        return restore(given, cls.__full__) if isinstance(given, Mapping) else given

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        return cls.__declared__
