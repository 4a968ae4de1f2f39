from __future__ import annotations

from pathlib import Path

import pytest

from lazarus_pl.errors import LazarusError
from lazarus_pl.views.policy_builder import PolicyBuilder
from lazarus_pl.views.view_policy import ViewPolicy
from tests.conftest import save_noise
from tests.views.policies import policy


def build(found: ViewPolicy) -> None:
    for chain in found.chains:
        PolicyBuilder(found.path, 32).chain(chain)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no policy"),
        ("[]", "is no policy"),
        ("5", "is no policy"),
        ("a: [", "cannot be read"),
        ("- {RandomHorizontalFlip: {}, RandomVerticalFlip: {}}", "is no step"),
        ("- RandomRotation: [3]", "arguments of 'RandomRotation' have no names"),
        ("views: []", "'views' is empty"),
        ("views: [RandomHorizontalFlip]", "is no policy"),
        ("steps: [RandomHorizontalFlip]", "the one key 'views'"),
        ("- RandomApply: {transforms: 3}", "no list of 'transforms'"),
        ("- RandomHorizontalFlp", "did you mean 'RandomHorizontalFlip'"),
        ("- backgroundswap", "did you mean 'BackgroundSwap'"),
        ("- Lambda", "there is no transform 'Lambda'"),
        ("- RandomRotation: {degree: 3}", "did you mean 'degrees'"),
        ("- RandomRotation: {xyz: 3}", "has no argument 'xyz'"),
        ("- RandomRotation", "needs the argument 'degrees'"),
        ("- RandomRotation: {degrees: -3}", "does not take {'degrees': -3}"),
        ("- RandomRotation: {degrees: 3, interpolation: cubic}", "does not take"),
        ("- RandomApply: {transforms: [GausianBlur: {}]}", "did you mean 'GaussianBlur'"),
        ("- BackgroundSwap: {p: 2}", "p 2 cannot be"),
        ("- BackgroundSwap: {sources: {gras: 1}}", "no source of backgrounds 'gras'"),
        ("- BackgroundSwap: {sources: {folder: 1}}", "needs the argument folder"),
        ("- BackgroundSwap: {folder: nowhere}", "nowhere' is no folder"),
        ("- BackgroundSwap: {sources: {surroundings: 1}}", "at least one photo"),
        ("- BackgroundSwap: {donors: [a.jpg]}", "has no argument 'donors'"),
        ("- BackgroundSwap: {sources: {grass: 1}, folder: mine}", "is never drawn from"),
        ("- BackgroundSwap: {sources: [drawn]}", "sources need weights"),
        ("- BackgroundSwap: {sources: {drawn: .nan}}", "weights of 0 and above"),
        ("- BackgroundSwap: {sources: {drawn: .inf}}", "weights of 0 and above"),
        ("- JPEG: {quality: 50.5}", "quality 50.5 cannot be"),
        ("- JPEG: {quality: [3]}", "quality [3] cannot be"),
        ("- RandomHorizontalFlip: 0", "arguments of 'RandomHorizontalFlip' have no names"),
        ("- RandomHorizontalFlip: false", "arguments of 'RandomHorizontalFlip' have no names"),
    ],
)
def test_mistakes_name_what_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(LazarusError) as error:
        build(policy(tmp_path, text))
    assert said in str(error.value)
    assert "policy.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_stands_for_the_defaults(tmp_path: Path) -> None:
    found = policy(tmp_path, "- RandomHorizontalFlip:\n- BackgroundSwap: {folder: null}\n")
    build(found)
    assert found.chains[0][0] == ("RandomHorizontalFlip", {})
    assert len(found.digest) == 64
    assert len(policy(tmp_path, "- RandomRotation: {degrees: 2020-01-01}").digest) == 64


def test_shipped_policies_are_found_by_name() -> None:
    assert ViewPolicy.find("light").name == "light"
    with pytest.raises(LazarusError, match=r"no policy 'heavy'.*field, light"):
        ViewPolicy.find("heavy")
    with pytest.raises(LazarusError, match="no policy"):
        ViewPolicy.find("../views/light")


def test_views_take_chains_in_turn(tmp_path: Path) -> None:
    text = "views:\n- [RandomHorizontalFlip]\n- [RandomVerticalFlip, RandomInvert: {p: 1}]\n"
    found = policy(tmp_path, text)
    assert found.content == [
        [{"RandomHorizontalFlip": {}}],
        [{"RandomVerticalFlip": {}}, {"RandomInvert": {"p": 1}}],
    ]


def test_the_digest_is_of_what_is_done_not_of_how_it_is_written(tmp_path: Path) -> None:
    first = policy(tmp_path, "# a comment\n- RandomRotation: {degrees: 3, expand: true}\n")
    same = policy(tmp_path, "[{RandomRotation: {expand: true, degrees: 3}}]", "other.yaml")
    other = policy(tmp_path, "- RandomRotation: {degrees: 4, expand: true}\n", "third.yaml")
    assert first.digest == same.digest != other.digest


def test_the_digest_sees_the_folder_of_backgrounds(tmp_path: Path) -> None:
    (tmp_path / "soil").mkdir()
    save_noise(tmp_path / "soil" / "a.png")
    found = policy(tmp_path, "- RandomApply: {transforms: [BackgroundSwap: {folder: soil}]}")
    build(found)
    before = found.digest
    save_noise(tmp_path / "soil" / "b.png")
    assert found.digest != before
