"""From a dataclass of options to a command of the CLI library."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from mlpstorage.core.options import opt_of

if TYPE_CHECKING:
    from collections.abc import Callable

# Options of this group may also stand without their flag.
POSITIONAL = "Arguments"


def load(reference: str) -> Any:  # noqa: ANN401 (whatever the reference names)
    """The object that `module:attribute` names; the module is imported now, not at start-up."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def flag_of(field: dataclasses.Field[Any]) -> str:
    """The long flag of an option; a trailing underscore keeps a name from being a keyword."""
    return "--" + field.name.rstrip("_").replace("_", "-")


def command_of(options: type, act: Callable[[Any], int]) -> Callable[..., int]:
    """A function whose parameters are the fields of an options dataclass.

    Args:
        options: A frozen dataclass made of `core.options.opt` fields.
        act: Called with the instance; returns the exit code.
    """

    def command(*words: Any, **values: Any) -> int:  # noqa: ANN401 (the fields' values)
        by_place = zip((p.name for p in parameters), words, strict=False)
        return act(options(**dict(by_place), **values))

    hints = get_type_hints(options)
    parameters = [_parameter(field, hints[field.name]) for field in dataclasses.fields(options)]
    parameters.sort(key=lambda parameter: parameter.kind)  # Python wants positional ones first
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _parameter(field: dataclasses.Field[Any], hint: Any) -> inspect.Parameter:  # noqa: ANN401 (a type)
    from cyclopts import Parameter

    spec = opt_of(field)
    required = field.default is dataclasses.MISSING
    annotation = Annotated[
        hint,
        Parameter(
            name=[flag_of(field), *([spec.short] if spec.short else [])],
            negative="",
            consume_multiple=spec.many or None,
            allow_leading_hyphen=spec.dashes,
        ),
    ]
    default = inspect.Parameter.empty if required else field.default
    positional = spec.group == POSITIONAL
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if positional else inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, kind, default=default, annotation=annotation)
