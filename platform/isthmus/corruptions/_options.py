"""The options of a variant that puts noise on rows; reading them imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from isthmus.corruptions._field import UNNAMED, CorruptionField, declared
from isthmus.kinds import ShownAs, facts_of, is_taken
from isthmus.spec import DataAwareOptions, DataSpec, PluginSpec, RowSchema
from isthmus.types import LevelUnit, ScalingMode

_Level = Annotated[float, Field(allow_inf_nan=False)]
# What `auto` means for rows in standard units where the level is a standard deviation, and for
# sounds, whose loudness differs by 40 times from file to file.
_LEVELS_OF_STANDARD_ROWS = (0.05, 0.5)
_LEVELS_SNR_DB = (0.0, 20.0)
_LARGEST_SNR_DB = 100.0
# What the field means by blind denoising of images: standard deviations of white at 255.
_LEVELS_OF_IMAGES = (5.0, 55.0)
_WHITE_OF_LEVELS = 255.0
# Noise of so many times the spread of standardised rows is a mistake of units.
_MOST_SPREADS = 10.0


class NoiseOptions(DataAwareOptions):
    """The noise that is put on rows: the corruption, its level, and the unit of the level."""

    corruption: CorruptionField = Field(default="auto", validate_default=True)
    """The noise that is put on the rows, by name or with options of its own, as in `{name:
    poisson_gaussian, read_noise: 0.02}`; `isthmus corruptions` lists them. `none`: the noise is in
    the data, and `data.clean_path` names the clean rows. `auto`: none if `data.clean_path` is
    given, else gaussian."""
    level: _Level | tuple[_Level, _Level] | Literal["auto"] = "auto"
    """The strength of the noise; `isthmus corruptions` says what it means for each. With two
    numbers, as in `[0.02, 0.22]`, each row draws its own strength between them. `auto`: a range
    that suits the corruption and the data; of gaussian 5 to 55 where white is 255 for images, 0.05
    to 0.5 for rows in standard units, and an SNR of 0 to 20 dB for audio. Where no white is known,
    as for floats, or the noise would be stronger than the images are bright, it is 0.02 to 0.22 of
    the range of the training images."""
    lowest_level: float | None = Field(default=None, ge=0.0)
    """Another form of a range: `level: 0.2` with `lowest_level: 0.1` means `level: [0.1, 0.2]`."""
    level_in: LevelUnit | Literal["auto"] = "auto"
    """The unit of the level. `scaled`: that of the scaled rows; `auto` means it where a level is
    given. `data`: that of the data, as in 25 for pixels from 0 to 255. `snr_db`: the ratio of
    signal to noise of each row in dB; a higher one is less noise."""

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest level, which are not `auto` any more."""
        if self.level == "auto":
            raise ValueError("the level is not settled yet")
        if isinstance(self.level, tuple):
            return self.level
        return (self.level if self.lowest_level is None else self.lowest_level, self.level)

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        if self.lowest_level is not None and not isinstance(self.level, float):
            raise ValueError(
                f"lowest_level={self.lowest_level:g} goes with a single number as level; leave it "
                "out, or give level that number"
            )
        if self.level != "auto" and self.range[0] > self.range[1]:
            name = "level's first number" if self.lowest_level is None else "lowest_level"
            raise ValueError(f"{name}={self.range[0]:g} is above {self.range[1]:g}; swap them")
        return self

    @model_validator(mode="after")
    def _has_a_unit_that_the_corruption_takes(self) -> Self:
        name = self.corruption.name
        units = tuple(LevelUnit) if name in UNNAMED else declared(name, "LEVELS_IN")
        if self.level_in not in ("auto", *units):
            raise ValueError(
                f"level_in={self.level_in} does not suit {name}; use {' or '.join(units)}"
            )
        if self.level == "auto" and self.level_in is LevelUnit.DATA:
            raise ValueError("level_in=data has no level of its own; name one, as in level: 25")
        return self

    @model_validator(mode="after")
    def _has_a_level_that_makes_sense(self) -> Self:
        if self.level == "auto":
            return self
        lowest, highest = self.range
        if self.level_in is LevelUnit.SNR_DB:
            wrong = lowest if abs(lowest) > abs(highest) else highest
            if abs(wrong) > _LARGEST_SNR_DB:
                raise ValueError(f"level={wrong:g} dB is out of range; use -100 to 100")
            return self
        if lowest < 0 or highest <= 0:
            raise ValueError(f"level={min(lowest, highest):g} is no noise; use more than 0")
        name = self.corruption.name
        most = declared(name, "HIGHEST_LEVEL") if name not in UNNAMED else highest
        if highest > most and self.level_in is not LevelUnit.DATA:
            what = "is a share" if declared(name, "TAKES_A_SHARE") else "is too high"
            raise ValueError(f"level={highest:g} {what} for {name}; use 0 to {most:g}")
        return self

    def refusals(self, data: DataSpec) -> Mapping[str, str]:
        """Returns what does not suit the kind of the data, their scaling, or their clean rows."""
        name, level = self.corruption.name, self.level
        if name == "none" or (name == "auto" and _has_clean_rows(data)):
            if not _has_clean_rows(data):
                why = "none needs clean rows; name them in data.clean_path, or name a corruption"
                return {"corruption": why}
            if level != "auto":
                why = "has no effect on the noise of the data; leave it out, or name a corruption"
                return {"level": f"{level} {why}"}
            return {}
        name = "gaussian" if name == "auto" else name
        kinds = declared(name, "KINDS")
        if data.kind != "auto" and not is_taken(data.kind, kinds):
            takers = f"{' and '.join(kinds)}, and the data are {data.kind}"
            return {"corruption": f'"{name}" is noise of {takers}; see isthmus corruptions'}
        if declared(name, "NEEDS_UNIT_RANGE") and _scaling(data) is ScalingMode.STANDARD:
            why = (
                f"{name} is noise of rows in [0, 1], and data.scaling is standard; set it to minmax"
            )
            return {"corruption": why}
        if self.level_in is LevelUnit.SNR_DB and _shown_as(data) == "numbers":
            return {"level_in": "snr_db is for signals, and a row of a table is none; use scaled"}
        is_deviation = LevelUnit.DATA in declared(name, "LEVELS_IN")
        if level == "auto" or not is_deviation or self.level_in not in ("auto", LevelUnit.SCALED):
            return {}
        what = _too_high(self.range[1], data)
        unit = LevelUnit.SNR_DB if _shown_as(data) == "sounds" else LevelUnit.DATA
        return {"level": f"{self.range[1]:g} is {what}; set level_in: {unit}"} if what else {}

    def refusals_once_scaled(self, data: DataSpec, scale: float) -> Mapping[str, str]:
        """Returns a level in units of the data that is far beyond the range of the rows."""
        if self.level_in is not LevelUnit.DATA:
            return {}
        level = self.range[1]
        what = _too_high(level / scale, data)
        return {"level": f"{level:g} is {what}, {scale:g}; lower it"} if what else {}

    def settled(self, data: DataSpec) -> Self:
        """Returns the options with the corruption, the level and its unit that suit the data."""
        name = self.corruption.name
        if name == "none" or (name == "auto" and _has_clean_rows(data)):
            return self.model_copy(update={"corruption": PluginSpec(name="none")})
        name = "gaussian" if name == "auto" else name
        changes: dict[str, Any] = {"corruption": _settled_corruption(name, self.corruption, data)}
        unit = self.level_in
        if self.level == "auto":
            if unit == "auto" and data.kind != "auto":
                usual = facts_of(data.kind).level_in
                unit = usual if usual in declared(name, "LEVELS_IN") else unit
            changes["level"] = _auto_levels(name, unit, data)
        changes["level_in"] = LevelUnit.SCALED if unit == "auto" else unit
        return self.model_copy(update=changes)

    def settled_once_read(self, data: DataSpec, schema: RowSchema) -> Self:
        """Returns the same, with the level of images that `auto` means where white is known."""
        found = self.settled(data)
        corruption = found.corruption.name
        is_asked = self.level == "auto" and self.level_in == "auto" and corruption != "none"
        if not is_asked or _shown_as(data) != "pictures":
            return found
        if schema.white is None or schema.lowest is None or schema.highest is None:
            return found
        # Noises of rows in [0, 1] are defined by the range of these.
        takes_data = LevelUnit.DATA in declared(corruption, "LEVELS_IN")
        if not takes_data or declared(corruption, "NEEDS_UNIT_RANGE"):
            return found
        lowest, highest = (each * schema.white / _WHITE_OF_LEVELS for each in _LEVELS_OF_IMAGES)
        # 12 bits that are stored in 16 are never near white.
        if highest > max(schema.highest) - min(schema.lowest):
            return found
        return found.model_copy(update={"level": (lowest, highest), "level_in": LevelUnit.DATA})


def _settled_corruption(name: str, given: PluginSpec, data: DataSpec) -> PluginSpec:
    """Returns a corruption with all its options, those that depend on the data resolved."""
    options = declared(name, "Config").model_validate(dict(given.options))
    if isinstance(options, DataAwareOptions):
        options = options.settled(data)
    return PluginSpec(name=name, options=options.model_dump(mode="json"))


def _has_clean_rows(data: DataSpec) -> bool:
    return data.clean_path is not None


def _shown_as(data: DataSpec) -> ShownAs | None:
    return None if data.kind == "auto" else facts_of(data.kind).shown_as


def _scaling(data: DataSpec) -> ScalingMode | None:
    """Returns how the rows are scaled; `None` where that is not known yet."""
    if data.scaling != "auto":
        return data.scaling
    return None if data.kind == "auto" else facts_of(data.kind).scaling


def _too_high(level: float, data: DataSpec) -> str | None:
    """Returns what a standard deviation in scaled units is too many times of, or `None`."""
    scaling = _scaling(data)
    if scaling is ScalingMode.MINMAX and level > 1:
        return f"{level:g} times the whole range of the rows"
    if scaling is ScalingMode.STANDARD and level > _MOST_SPREADS:
        return f"{level:g} times the spread of the rows"
    if _shown_as(data) == "sounds" and scaling is ScalingMode.NONE and level > 1:
        return f"{level:g} times the full scale of sounds"
    return None


def _auto_levels(name: str, unit: LevelUnit | str, data: DataSpec) -> tuple[float, float]:
    if unit == LevelUnit.SNR_DB:
        return _LEVELS_SNR_DB
    is_deviation = LevelUnit.DATA in declared(name, "LEVELS_IN")
    if is_deviation and _scaling(data) is not ScalingMode.MINMAX:
        return _LEVELS_OF_STANDARD_ROWS
    levels: tuple[float, float] = declared(name, "AUTO_LEVELS")
    return levels
