"""Templates: everything a template expands to is accepted, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.errors import InstructionError
from mvista_core.instructions import check, expand, normalise

TEMPLATES = (
    "touch the {red|green|blue|yellow} cube",
    "open the drawer",
    "put the orange in the bowl",
)


def test_choices_expand_in_order() -> None:
    assert expand("{a|b} and {c|d}") == ("a and c", "a and d", "b and c", "b and d")
    assert expand("open the drawer") == ("open the drawer",)


@pytest.mark.parametrize("sentence", [s for template in TEMPLATES for s in expand(template)])
def test_every_expansion_is_accepted_however_it_is_typed(sentence: str) -> None:
    assert check(sentence, TEMPLATES) == sentence
    assert check(f"  {sentence.upper()} . ", TEMPLATES) == sentence


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize("text", ["", "touch the pink cube", "touch the red cube please", "red"])
def test_anything_else_is_refused_with_the_templates(text: str) -> None:
    with pytest.raises(InstructionError) as caught:
        check(text, TEMPLATES)
    assert all(template in str(caught.value) for template in TEMPLATES)
    assert caught.value.code == 20
