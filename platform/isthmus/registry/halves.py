"""The two registered models of a pair, as they are in MLflow now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isthmus.registry.reference import decoder_name, encoder_name

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class Standing:
    """The model versions of both halves that have an alias; `None` where it is not set."""

    version: int | None
    decoder_version: int | None


NOWHERE = Standing(None, None)


@dataclass(frozen=True)
class Halves:
    """The registered models of both halves, read together.

    Attributes:
        encoder: MLflow's registered model of the encoders; `None` if there is none.
        decoder: MLflow's registered model of the decoders; `None` if there is none.
    """

    encoder: Any
    decoder: Any

    @classmethod
    def read(cls, client: MlflowClient, name: str) -> Halves:
        """Reads both registered models in one request.

        MLflow's own `get_registered_model` is not used because it reads all versions.
        """
        names = (encoder_name(name), decoder_name(name))
        found = client.search_registered_models(f"name IN {names}", max_results=2)
        models = {model.name: model for model in found}
        return cls(models.get(names[0]), models.get(names[1]))

    @classmethod
    def read_encoder(cls, client: MlflowClient, name: str) -> Halves:
        """Reads only the encoder's registered model.

        For each model, MLflow reads all versions to find the newest.
        """
        found = client.search_registered_models(f"name = '{encoder_name(name)}'", max_results=1)
        return cls(found[0] if found else None, None)

    @property
    def encoder_tags(self) -> Mapping[str, str]:
        """The tags of the encoder's registered model."""
        return self.encoder.tags if self.encoder else {}

    @property
    def newest(self) -> tuple[Any, ...]:
        """The newest version of each half that has one, the encoder's first."""
        models = (self.encoder, self.decoder)
        return tuple(version for model in models if model for version in model.latest_versions)

    @property
    def aliases(self) -> frozenset[str]:
        """The aliases of both halves."""
        return frozenset(_aliases(self.encoder)) | frozenset(_aliases(self.decoder))

    def standing(self, alias: str) -> Standing:
        """Returns the versions that have an alias."""
        encoder, decoder = _aliases(self.encoder).get(alias), _aliases(self.decoder).get(alias)
        return Standing(int(encoder) if encoder else None, int(decoder) if decoder else None)


def _aliases(model: Any) -> Mapping[str, Any]:
    return model.aliases if model else {}
