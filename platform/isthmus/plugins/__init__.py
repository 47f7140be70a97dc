"""Finds variants, nets, scores and corruptions: built-in ones, those of packages, those of files.

A built-in plugin is a file in its room, whose name is the file's stem. A package offers its own by
an entry point, and a job by a file that it names. This room imports no torch.
"""

from isthmus.plugins.built_in import load, names_in, paper, the_class_in
from isthmus.plugins.entry_points import Offer, offers, refuse_collisions
from isthmus.plugins.files import (
    KEY_LENGTH,
    PluginFile,
    class_of,
    defines,
    import_file,
    imported_file,
)
from isthmus.plugins.lookup import (
    found_outside,
    full_name,
    get,
    is_known,
    named_in,
    names,
    origin,
    using,
)
from isthmus.plugins.python_classes import with_files_of_classes, without_classes
from isthmus.plugins.rooms import ROOMS, Room, is_of_file

__all__ = [
    "KEY_LENGTH",
    "ROOMS",
    "Offer",
    "PluginFile",
    "Room",
    "class_of",
    "defines",
    "found_outside",
    "full_name",
    "get",
    "import_file",
    "imported_file",
    "is_known",
    "is_of_file",
    "load",
    "named_in",
    "names",
    "names_in",
    "offers",
    "origin",
    "paper",
    "refuse_collisions",
    "the_class_in",
    "using",
    "with_files_of_classes",
    "without_classes",
]
