from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizers.errors import RecipeError
from optimizers.recipes import RECIPES, check_recipe, find_recipe, parse_recipe
from optimizers.variant import PassSpec, Recipe


def test_what_ships_is_what_is_promised_and_can_be_made() -> None:
    assert list(RECIPES) == ["fp32", "fp16", "int8-dynamic", "int8-static", "int8-static-per-tensor", "prune-magnitude-50", "ort-format"]
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert recipe.description
        assert recipe.passes[0] == PassSpec(name="simplify")
        check_recipe(recipe, source=name)


def test_a_recipe_as_it_is_written() -> None:
    recipe = parse_recipe(
        {"name": "half pruned", "description": "x", "passes": ["simplify", {"prune_magnitude": {"sparsity": 0.3}}, {"fp16": None}]},
        source="f",
    )
    assert recipe == Recipe(
        name="half pruned",
        description="x",
        passes=(PassSpec(name="simplify"), PassSpec(name="prune_magnitude", parameters={"sparsity": 0.3}), PassSpec(name="fp16")),
    )
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_names_alone_and_without_a_name() -> None:
    assert parse_recipe("fp16", source="f") is RECIPES["fp16"]
    assert parse_recipe({"passes": ["simplify", "fp16"]}, source="f").name == "simplify+fp16"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("fp61", ["no recipe `fp61`", "did you mean `fp16`"]),
        (None, ["here", "nothing"]),
        ([], ["here", "a list"]),
        ({}, ["here", "`passes` must be a list"]),
        ({"passes": []}, ["at least one pass"]),
        ({"passes": "fp16"}, ["must be a list"]),
        ({"passes": ["simplify"] * 33}, ["33 passes are too many"]),
        ({"passes": ["simplifi"]}, ["here: passes[0]", "did you mean `simplify`"]),
        ({"pases": ["fp16"]}, ["`pases` does not belong", "did you mean `passes`"]),
        ({"passes": ["fp16"], "name": 5}, ["`name` must be one line of text"]),
        ({"passes": ["fp16"], "name": "a\nb"}, ["`name` must be one line of text"]),
        ({"passes": ["fp16"], "name": "n" * 201}, ["at most 200"]),
        ({"passes": [{"prune_magnitude": {"sparcity": 0.5}}]}, ["passes[0]", "prune_magnitude"]),
        ({"passes": [{"prune_magnitude": {"sparsity": 0.5, "scoop": "layer"}}]}, ["did you mean `scope`"]),
        ({"passes": [{"prune_magnitude": {"sparsity": 1.5}}]}, ["`sparsity`", "less than or equal to 1", "1.5"]),
        ({"passes": [{"prune_magnitude": {"sparsity": float("nan")}}]}, ["`sparsity`", "finite"]),
        ({"passes": [{"prune_magnitude": {"sparsity": 0.5, "scope": "layers"}}]}, ["did you mean `layer`"]),
        ({"passes": ["prune_magnitude"]}, ["`sparsity` is missing"]),
        ({"passes": [{"fp16": {}, "simplify": {}}]}, ["one name with its parameters"]),
        ({"passes": [{"fp16": 3}]}, ["needs a mapping of its parameters, not 3"]),
        ({"passes": ["compile_ort", "fp16"]}, ["`compile_ort` must be the last pass"]),
    ],
)
def test_mistakes_are_answered_with_the_place_and_the_nearest_word(data: object, words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(data, source="here")
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["passes", "simplify", "fp16", "name"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(["passes", "name", "fp16", "prune_magnitude"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(json_like)
def test_anything_is_a_recipe_or_an_error_of_one_line(data: object) -> None:
    try:
        recipe = parse_recipe(data, source="here")
    except RecipeError as error:
        assert str(error).isprintable()
    else:
        check_recipe(recipe, source="again")


def test_find_recipe_lists_what_there_is() -> None:
    with pytest.raises(RecipeError, match="recipes that ship: fp32"):
        find_recipe("zzzzzz")
