"""Show the constructors of attrs classes in the reference: griffe reads no attrs."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import attrs
import griffe


_KINDS: dict[object, griffe.ParameterKind] = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: griffe.ParameterKind.positional_or_keyword,
    inspect.Parameter.KEYWORD_ONLY: griffe.ParameterKind.keyword_only,
}


class AttrsSignatures(griffe.Extension):
    """Gives each attrs class the ``__init__`` that attrs makes for it."""

    def on_class(self, *, cls: griffe.Class, **_kwargs: Any) -> None:
        """Add the signature, with the annotations and defaults of the fields."""
        real = getattr(import_module(cls.module.path), cls.name, None)
        if real is None or not attrs.has(real) or "__init__" in cls.members:
            return
        parameters = inspect.signature(real).parameters.values()
        fields = {field.alias: field for field in attrs.fields(real)}
        shown = griffe.Parameters(
            griffe.Parameter("self", kind=_KINDS[inspect.Parameter.KEYWORD_ONLY]),
            *(_parameter(cls, each, fields[each.name]) for each in parameters),
        )
        function = griffe.Function("__init__", parameters=shown, returns="None")
        cls.set_member("__init__", function)


def _parameter(
    cls: griffe.Class, parameter: inspect.Parameter, field: attrs.Attribute[Any]
) -> griffe.Parameter:
    default = None
    if parameter.default is attrs.NOTHING:
        default = "..."
    elif parameter.default is not inspect.Parameter.empty:
        default = repr(field.default)
    return griffe.Parameter(
        parameter.name,
        annotation=getattr(cls.members.get(field.name), "annotation", None),
        kind=_KINDS[parameter.kind],
        default=default,
    )
