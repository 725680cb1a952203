"""Values against models of anybody's: a key that is no field is a problem, whatever the model says of it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from ahekit.errors import SpecError
from ahekit.validation import validate


class Inner(BaseModel):
    width: int = 3


class Lenient(BaseModel):
    model_config = ConfigDict(extra="allow")

    width: int = 3
    depth: int = Field(1, alias="layers")
    inner: Inner = Inner()
    many: list[Inner] = []
    by_name: dict[str, Inner] = {}
    maybe: Inner | None = None


class Silent(BaseModel):
    width: int = 3


class Choice(BaseModel):
    one_of: Inner | int = 3


@pytest.mark.parametrize(
    ("model", "values", "problem"),
    [
        (Silent, {"widht": 1}, "params.widht: no field named 'widht'; did you mean width? Known: width"),
        (Lenient, {"widht": 1}, "params.widht: no field named 'widht'; did you mean width? Known: "),
        (Lenient, {"inner": {"widht": 1}}, "params.inner.widht: no field named 'widht'; did you mean width?"),
        (Lenient, {"many": [{}, {"widht": 1}]}, "params.many.1.widht: no field named 'widht'; did you mean width?"),
        (Lenient, {"by_name": {"a": {"widht": 1}}}, "params.by_name.a.widht: no field named 'widht'; did you mean"),
        (Lenient, {"maybe": {"widht": 1}}, "params.maybe.widht: no field named 'widht'; did you mean width?"),
        (Choice, {"one_of": {"widht": 1}}, "params.one_of.Inner.widht: no field named 'widht'; did you mean width?"),
        (Lenient, {"depth": 2}, "params.depth: no field named 'depth'"),
    ],
)
def test_a_key_that_is_no_field_is_refused_on_every_level(
    model: type[BaseModel], values: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SpecError) as refused:
        validate(model, values, where="params")
    assert refused.value.problems[0].startswith(problem)


def test_what_a_model_does_know_is_taken_by_its_alias() -> None:
    values = validate(Lenient, {"layers": 4, "inner": {"width": 5}, "many": [{"width": 6}]})
    assert (values.depth, values.inner.width, values.many[0].width) == (4, 5, 6)


@pytest.mark.parametrize("value", [1000.0, 511, True])
def test_a_number_where_text_belongs_says_how_to_write_it_as_text(value: float) -> None:
    class Named(BaseModel):
        weights: str = "hub"

    with pytest.raises(
        SpecError, match=r"weights: must be a valid string; .* is text in quotes, with --set '\"these\"'"
    ):
        validate(Named, {"weights": value})
