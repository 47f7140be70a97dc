"""What a plugin declares is read from its source, and is what its class says when imported."""

from __future__ import annotations

import inspect

import pytest

from isthmus import corruptions, nets, scores, variants
from isthmus.declarations import declaration, plugin_names

ROOMS = {"variants": variants, "nets": nets, "scores": scores, "corruptions": corruptions}
FACTS = {
    "variants": ("SUMMARY", "KINDS", "VIEWS", "TAKES_SKIPS", "AUTO_LOSS",
                 "AUTO_LOSS_OF_SOUNDS", "NEEDS_ELEMENTWISE_LOSS"),
    "nets": ("SUMMARY", "KINDS", "HAS_SKIPS"),
    "scores": ("SUMMARY", "KINDS"),
    "corruptions": ("SUMMARY", "KINDS", "TAKES_A_SHARE", "NEEDS_UNIT_RANGE", "LEVELS_IN",
                    "HIGHEST_LEVEL", "AUTO_LEVELS"),
}  # fmt: skip
PLUGINS = [(room, name) for room, module in ROOMS.items() for name in module.names()]


@pytest.mark.parametrize(("room", "name"), PLUGINS, ids=["/".join(each) for each in PLUGINS])
def test_every_plugin_declares_in_its_source_what_its_class_says(room, name):
    declared, real = declaration(room, name), ROOMS[room].get(name)
    assert {each: declared.value(each) for each in FACTS[room]} == {
        each: getattr(real, each) for each in FACTS[room]
    }
    assert declared.about == inspect.getdoc(real)
    config = declared.value("Config")
    assert config.model_json_schema() == real.Config.model_json_schema()
    assert config().model_dump(mode="json") == real.Config().model_dump(mode="json")


@pytest.mark.parametrize("room", ROOMS)
def test_the_same_plugins_are_found_without_importing_their_room(room):
    assert plugin_names(room) == ROOMS[room].names()


def test_checks_of_options_are_read_too():
    config = declaration("variants", "denoising").value("Config")
    with pytest.raises(ValueError, match="level"):
        config(level=-1)


def test_a_name_that_nobody_declares_is_an_attribute_error():
    with pytest.raises(AttributeError, match="declares no COLOUR"):
        declaration("variants", "vae").value("COLOUR")
