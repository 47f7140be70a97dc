"""A pair's two registered models, as MLflow has them now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isthmus.registry.reference import decoder_name, encoder_name

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class Standing:
    """Where an alias is: the version of each half, `None` where it is not set."""

    version: int | None
    decoder_version: int | None


NOWHERE = Standing(None, None)


@dataclass(frozen=True)
class Halves:
    """Both registered models, read at once.

    Attributes:
        encoder: MLflow's registered model; `None` if there is none.
        decoder: The same.
    """

    encoder: Any
    decoder: Any

    @classmethod
    def read(cls, client: MlflowClient, name: str) -> Halves:
        """Makes one request. MLflow's own `get_registered_model` reads all versions."""
        names = (encoder_name(name), decoder_name(name))
        found = client.search_registered_models(f"name IN {names}", max_results=2)
        models = {model.name: model for model in found}
        return cls(models.get(names[0]), models.get(names[1]))

    @classmethod
    def read_encoder(cls, client: MlflowClient, name: str) -> Halves:
        """The encoder only: for each model, MLflow reads all versions to find the newest."""
        found = client.search_registered_models(f"name = '{encoder_name(name)}'", max_results=1)
        return cls(found[0] if found else None, None)

    @property
    def encoder_tags(self) -> Mapping[str, str]:
        """Of the encoder's registered model."""
        return self.encoder.tags if self.encoder else {}

    @property
    def newest(self) -> tuple[Any, ...]:
        """The newest version of each half, the encoder's first; without those that have none."""
        models = (self.encoder, self.decoder)
        return tuple(version for model in models if model for version in model.latest_versions)

    @property
    def aliases(self) -> frozenset[str]:
        """All that either half has."""
        return frozenset(_aliases(self.encoder)) | frozenset(_aliases(self.decoder))

    def standing(self, alias: str) -> Standing:
        """Where an alias is."""
        encoder, decoder = _aliases(self.encoder).get(alias), _aliases(self.decoder).get(alias)
        return Standing(int(encoder) if encoder else None, int(decoder) if decoder else None)


def _aliases(model: Any) -> Mapping[str, Any]:
    return model.aliases if model else {}
