"""Isthmus trains autoencoders, registers each encoder and decoder as a pair, and runs the pairs.

    import isthmus

    result = isthmus.train("job.yaml")
    isthmus.promote("digits", result.pair.version)
    clean = isthmus.load("digits@champion").denoise(noisy)

Importing this package imports neither torch nor Ray nor MLflow; the first call does.
"""

# Nothing is imported until it is needed: the command handles Ctrl-C only from its own first line
# on, which comes after this module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from isthmus.api import (
        build,
        delete,
        finish,
        gate,
        history,
        lineage,
        load,
        models,
        nearest,
        onnx_files,
        promote,
        prune,
        resume,
        rollback,
        train,
        tune,
        versions,
    )
    from isthmus.errors import IsthmusError
    from isthmus.registry import Latents

__all__ = [
    "IsthmusError",
    "Latents",
    "build",
    "delete",
    "finish",
    "gate",
    "history",
    "lineage",
    "load",
    "models",
    "nearest",
    "onnx_files",
    "promote",
    "prune",
    "resume",
    "rollback",
    "train",
    "tune",
    "versions",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("isthmus")
    if name == "IsthmusError":
        from isthmus.errors import IsthmusError

        return IsthmusError
    if name == "Latents":
        from isthmus.registry.latents import Latents

        return Latents
    if name in __all__:
        import isthmus.api

        return getattr(isthmus.api, name)
    raise AttributeError(f"module 'isthmus' has no attribute {name!r}")
