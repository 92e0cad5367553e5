"""The vocabulary of claims: what a study card may say a paper says, typed and checked.

A claim is written before its result is looked at. The models therefore refuse whatever would weaken the test:
a level above 0.05, a margin of "chance" wider than 0.1, a misspelt key that would leave a default in force.
:mod:`replicortex.stages.claims` judges; this module is light, so that cards are checked before anything runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from .errors import InputError, did_you_mean

Verdict = Literal["holds", "fails", "undecided", "invalid"]
_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Applies(_Model):
    """Where a claim can be judged at all; elsewhere it is undecided, with this as the reason."""

    truth: bool | list[str] = Field(
        description="`true`: only on simulated data; a list: only on those with one of these contrasts."
    )


class _Claim(_Model):
    name: _Name = Field(description="Name of the claim; unique in the study.")
    text: str = Field(min_length=10, description="What the paper says, in words.")
    metric: _Name = Field(description="Metric, one of the study's.")
    scheme: _Name = Field(description="Evaluation scheme, one of the study's.")
    unit: Literal["subject", "session", "fold", "dataset"] = Field(
        description="Over what the test runs. Sessions of a subject are not taken as independent. `fold` is for"
        " what a fit found out or selected as a whole; folds share training rows, so its intervals are narrow."
    )
    alpha: float = Field(0.05, gt=0, le=0.05, description="One-sided level of the test.")
    under_null: Literal["fails", "holds", "n/a"] = Field(
        description="What must happen where the targets are permuted or nothing was planted; n/a for a claim that"
        " compares learners with each other, one of which may be better on any data."
    )
    planted: list[str] = Field([], description="Contrasts of simulated data under which the claim must hold.")
    applies: Applies | None = Field(None, description="Where the claim can be judged; everywhere by default.")

    @property
    def methods_named(self) -> tuple[str, ...]:
        """Names of the methods that the claim is about, the one it speaks for first."""
        return (self.method,)


class Better(_Claim):
    """``method`` scores better than ``than``: paired test, one-sided."""

    kind: Literal["better"]
    method: _Name = Field(description="Method that is said to be better.")
    than: _Name = Field(description="Method that it is compared with.")
    min_effect: float = Field(0.0, ge=0, description="By how much, in units of the metric.")

    @property
    def methods_named(self) -> tuple[str, ...]:
        """Both methods."""
        return self.method, self.than

    @model_validator(mode="after")
    def _two_methods(self) -> Better:
        if self.method == self.than:
            raise ValueError("a method can not be better than itself")
        if self.under_null == "holds":
            raise ValueError("under_null of `better` must be `fails`: nothing is better at predicting permuted targets")
        return self


class AtLeast(_Claim):
    """``method`` scores at least ``value`` (at most, for metrics where smaller is better)."""

    kind: Literal["at_least"]
    method: _Name = Field(description="Method.")
    value: float = Field(description="Value that the mean over units must exceed; itself better than chance.")


class EqualsChance(_Claim):
    """``method`` scores within ``margin`` of chance: two one-sided tests."""

    kind: Literal["equals_chance"]
    method: _Name = Field(description="Method.")
    margin: float = Field(gt=0, le=0.1, description="Half width of what counts as chance, in units of the metric.")

    @model_validator(mode="after")
    def _null_is_chance(self) -> EqualsChance:
        if self.under_null == "fails":
            raise ValueError("under_null of `equals_chance` must be `holds`: permuted targets can not be predicted")
        return self


class Recovers(_Claim):
    """What ``method`` found out agrees with the truth by a truth metric, to at least ``value``."""

    kind: Literal["recovers"]
    method: _Name = Field(description="Method.")
    value: float = Field(description="Value of the truth metric that the mean over units must exceed.")


class Monotone(_Claim):
    """Scores change in one direction along ``methods``, which differ in one parameter."""

    kind: Literal["monotone"]
    methods: list[_Name] = Field(min_length=3, description="Methods in the order of the parameter.")
    direction: Literal["improves", "worsens"] = Field("improves", description="How scores change along them.")

    @property
    def methods_named(self) -> tuple[str, ...]:
        """All methods, in order."""
        return tuple(self.methods)


class BeatsTwins(_Claim):
    """``method`` scores better than the same asked of networks that learned nothing (``random-<k>``, ``null-<k>``)."""

    kind: Literal["beats_twins"]
    method: _Name = Field(description="Method, which explains or reads a network.")
    against: list[Literal["random", "null"]] = Field(
        ["random"],
        min_length=1,
        max_length=2,
        description="Twins that it must beat, all that are named: networks with random weights (`random_variants`), or"
        " trained on permuted targets (`null_variants`).",
    )

    @model_validator(mode="after")
    def _of_networks(self) -> BeatsTwins:
        if self.unit not in ("fold", "dataset"):
            raise ValueError("unit of `beats_twins` must be `fold` (each draws its own networks) or `dataset`")
        if len(set(self.against)) < len(self.against):
            raise ValueError("against names the same twins twice")
        if self.under_null == "holds":
            raise ValueError("under_null of `beats_twins` must be `fails`: what learned nothing is a twin itself")
        return self


Claim = Annotated[Better | AtLeast | EqualsChance | Recovers | Monotone | BeatsTwins, Field(discriminator="kind")]
_KINDS: dict[str, type[_Claim]] = {
    cls.model_fields["kind"].annotation.__args__[0]: cls
    for cls in (Better, AtLeast, EqualsChance, Recovers, Monotone, BeatsTwins)
}
_CLAIM = TypeAdapter(Claim)


def claim_schema() -> dict[str, Any]:
    """Return the JSON schema of one claim."""
    return _CLAIM.json_schema()


def parse_claims(
    claims: Sequence[Mapping[str, Any]],
    where: object,
    *,
    methods: Collection[str] | None = None,
    schemes: Collection[str] | None = None,
    metrics: Collection[str] | None = None,
) -> list[Claim]:
    """Check the claims of a study card.

    Parameters
    ----------
    claims : sequence of mapping
        As read from YAML.
    where : object
        The card, for messages.
    methods, schemes, metrics : collection of str, optional
        What the study has; a claim about anything else is refused. Not checked where ``None``.

    Raises
    ------
    InputError
        Naming the claim, the key and what is wrong with it.
    """
    made: list[Claim] = []
    for number, claim in enumerate(claims):
        here = f"{where}, claim {claim.get('name', number + 1)}"
        kind = claim.get("kind")
        if kind not in _KINDS:
            raise InputError(here, f"unknown kind {kind!r}", did_you_mean(str(kind), _KINDS))
        for key in claim:
            if key not in _KINDS[kind].model_fields:
                raise InputError(
                    here, f"unknown key {key!r} for kind {kind}", did_you_mean(key, _KINDS[kind].model_fields)
                )
        try:
            parsed = _CLAIM.validate_python(dict(claim))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"][1:]) or "claim"
            raise InputError(here, f"{place}: {first['msg']}", "correct it in the card") from None
        named = [("method", name, methods) for name in parsed.methods_named]
        for what, name, known in [
            *named,
            ("scheme", parsed.scheme, schemes),
            ("metric", parsed.metric, metrics),
        ]:
            if known is not None and name not in known:
                raise InputError(here, f"the study has no {what} {name!r}", did_you_mean(name, known))
        if any(parsed.name == other.name for other in made):
            raise InputError(here, "there are two claims of this name", "rename one of them")
        made.append(parsed)
    return made
