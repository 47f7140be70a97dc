"""Defines the base class of all sections of a job file."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import AliasChoices, BaseModel, ConfigDict, model_validator


class SpecModel(BaseModel):
    """The base class of all sections of a job file. It is frozen and refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _names_each_field_once(cls, value: object) -> object:
        """Refuses a field that is given by its name and by a name of earlier versions."""
        for name, former in former_names(cls):
            if isinstance(value, Mapping) and {name, former} <= value.keys():
                raise ValueError(f"{former} is now {name}; leave {former} out")
        return value


def former_names(model: type[BaseModel]) -> list[tuple[str, str]]:
    """Returns the fields that had other names in earlier versions, each with a former name."""
    return [
        (name, former)
        for name, field in model.model_fields.items()
        if isinstance(field.validation_alias, AliasChoices)
        for former in field.validation_alias.choices
        if isinstance(former, str) and former != name
    ]
