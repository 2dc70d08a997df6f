"""A change of one model's versions and labels: what is meant, and not one byte besides."""

import difflib
import random
import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healer.model_servers.tensorflow_serving.config import find, models
from healer.model_servers.tensorflow_serving.edit import change
from healer.model_servers.versions import ConfigError, ConfiguredModel, Policy, specific

pytestmark = pytest.mark.slow

FILE = """\
# what the fleet serves; ask #ml before you touch it
model_config_list {
  config {
    name: "other"
    base_path: "/models/other"
    model_version_policy { specific { versions: 41 } }
    version_labels { key: "stable" value: 41 }
  }
  config {
    name: "ranker"      # the home page
    base_path: "/models/ranker";
    model_version_policy {
      specific {
        versions: 41  # good since May
        versions: 42,
        # 43 ran out of memory
      }
    }
    version_labels { key: "stable" value: 41 }  # do not move by hand
    version_labels {
      key: 'canary'
      value: 42
    }
  }
}
"""


def lines(before: str, after: str) -> list[str]:
    """What a diff shows."""
    shown = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in shown if not line.startswith(("---", "+++", "@@"))]


def changed(text: str, policy: Policy | None = None, labels: Mapping[str, int] | None = None, name: str = "ranker") -> list[str]:
    served = find(text, name)
    policy, labels = policy or served.policy, served.labels if labels is None else labels
    after = change(text, name, policy, labels)
    assert find(after, name) == ConfiguredModel(name, served.base_path, policy, dict(labels))
    return lines(text, after)


def test_nothing_to_change_changes_nothing() -> None:
    assert changed(FILE) == []


def test_a_version_more_goes_below_the_last_with_its_layout() -> None:
    assert changed(FILE, specific([41, 42, 44])) == ["+        versions: 44"]


def test_a_version_less_goes_with_its_line() -> None:
    assert changed(FILE, specific([41]), {"stable": 41, "canary": 41}) == [
        "-        versions: 42,",
        "-      value: 42",
        "+      value: 41",
    ]


def test_a_comment_behind_a_version_that_goes_stays() -> None:
    assert changed(FILE, specific([42]), {"stable": 42, "canary": 42}) == [
        "-        versions: 41  # good since May",
        "+          # good since May",
        '-    version_labels { key: "stable" value: 41 }  # do not move by hand',
        '+    version_labels { key: "stable" value: 42 }  # do not move by hand',
    ]


def test_a_version_in_place_of_another() -> None:
    assert changed(FILE, specific([42, 50]), {"stable": 50, "canary": 42})[:2] == [
        "-        versions: 41  # good since May",
        "+        versions: 50  # good since May",
    ]


def test_a_label_goes_and_comes() -> None:
    assert changed(FILE, labels={"stable": 41}) == ["-    version_labels {", "-      key: 'canary'", "-      value: 42", "-    }"]
    assert changed(FILE, labels={"stable": 41, "canary": 42, "probe": 42}) == ['+    version_labels { key: "probe" value: 42 }']


def test_a_policy_of_another_kind() -> None:
    after = change(FILE, "ranker", Policy("latest", 2), {"stable": 41, "canary": 42})
    assert "    model_version_policy {\n      latest { num_versions: 2 }\n    }\n" in after
    assert find(change(after, "ranker", Policy("all"), {}), "ranker").policy == Policy("all")


def one(inside: str) -> str:
    return f'model_config_list {{ config {{ name: "a" base_path: "/a" {inside}}} }}'


@pytest.mark.parametrize(
    ("text", "policy", "labels", "wanted"),
    [
        (one(""), specific([3]), {}, one("model_version_policy { specific { versions: 3 } } ")),
        (one("model_version_policy {} "), specific([3]), {}, one("model_version_policy { specific { versions: 3 } } ")),
        (
            one("model_version_policy { latest { num_versions: 2 }; } "),
            specific([3]),
            {},
            one("model_version_policy { specific { versions: 3 }; } "),
        ),
        (
            one("model_version_policy { specific { versions: [1, 2,3] } } "),
            specific([2]),
            {},
            one("model_version_policy { specific { versions: [ 2] } } "),
        ),
        (
            one("model_version_policy { specific { versions: [1, 2, 3] } } "),
            specific([1]),
            {},
            one("model_version_policy { specific { versions: [1  ] } } "),
        ),
        (
            one("model_version_policy { specific { versions: [1, 2, 3] } } "),
            specific([5]),
            {},
            one("model_version_policy { specific { versions: [5  ] } } "),
        ),
        (
            one("model_version_policy { specific { versions: [1] } } "),
            specific([1, 2, 3]),
            {},
            one("model_version_policy { specific { versions: [1, 2, 3] } } "),
        ),
        (
            one("model_version_policy { specific { versions: [] } } "),
            specific([1]),
            {},
            one("model_version_policy { specific { versions: [] versions: 1 } } "),
        ),
        (
            one("model_version_policy { specific { versions: 1 versions: 2 versions: 1 } } "),
            specific([1]),
            {},
            one("model_version_policy { specific { versions: 1 } } "),
        ),
        (
            one("model_version_policy { specific { versions: 0x10 } } "),
            specific([16, 17]),
            {},
            one("model_version_policy { specific { versions: 0x10 versions: 17 } } "),
        ),
        (
            one("model_version_policy { specific { versions: 00000006 versions: 010 } } "),
            specific([6, 8, 9]),
            {},
            one("model_version_policy { specific { versions: 00000006 versions: 010 versions: 9 } } "),
        ),
        (one("version_labels: [{key: 'x' value: 1}] "), Policy(), {}, one("version_labels: [] ")),
        (
            one("version_labels: [{key: 'x' value: 1}] "),
            Policy(),
            {"x": 1, "y": 2},
            one("version_labels: [{key: 'x' value: 1}, { key: \"y\" value: 2 }] "),
        ),
        (
            one("version_labels { key: 'x' value: 1 } version_labels { key: '\\x78' value: 2 } "),
            Policy(),
            {"x": 3},
            one("version_labels { key: 'x' value: 3 } version_labels { key: '\\x78' value: 3 } "),
        ),
        (one("version_labels { key: 'x' } "), Policy(), {"x": 3}, one("version_labels { key: 'x' value: 3 } ")),
    ],
)
def test_the_forms_that_the_text_format_has(text: str, policy: Policy, labels: dict[str, int], wanted: str) -> None:
    assert change(text, "a", policy, labels) == wanted


def test_an_empty_message_of_several_lines_keeps_its_comments() -> None:
    text = 'model_config_list {\n  config {\n    name: "a"\n    model_version_policy {\n      # later\n    }\n  }\n}\n'
    assert lines(text, change(text, "a", specific([3]), {})) == ["+      specific { versions: 3 }"]


def test_windows_line_ends_are_kept() -> None:
    text = FILE.replace("\n", "\r\n")
    after = change(text, "ranker", specific([41, 42, 44]), {"stable": 41, "canary": 42, "x": 44})
    assert after.replace("\r\n", "").count("\n") == 0
    assert after.replace("\r\n", "\n") == change(FILE, "ranker", specific([41, 42, 44]), {"stable": 41, "canary": 42, "x": 44})


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no model 'x'"):
        change(FILE, "x", Policy(), {})


def test_what_would_come_out_otherwise_than_meant_is_not_written() -> None:
    with pytest.raises(ConfigError, match="in a way that healer cannot change"):
        change(one(""), "a", Policy(), {'x" value: 3 } version_labels { key: "y': 3})


# any file, any change

COMMENT = re.compile(r"#[^\r\n]*")
VERSIONS = st.lists(st.integers(1, 9), max_size=4, unique=True)
POLICIES = st.one_of(
    st.builds(Policy, st.just("latest"), st.integers(1, 3)),
    st.just(Policy("all")),
    VERSIONS.map(specific),
)
LABELS = st.dictionaries(st.sampled_from(["stable", "canary", "a b", "ü"]), st.integers(1, 9), max_size=3)


class Writer:
    """Writes models as a person may: every form of the text format, with comments and any layout."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def pick(self, *forms: str) -> str:
        return self._random.choice(forms)

    def gap(self) -> str:
        return self.pick(" ", "\n", "\n  ", "  # { not [a, field\n", "\r\n\t", "\n\n# x: 1\n")

    def end(self) -> str:
        return self.pick("", ";", ",", " ;") + self.gap()

    def message(self, inside: str) -> str:
        left, right = self._random.choice((("{", "}"), ("<", ">")))
        return f"{self.pick('', ':')}{self.gap()}{left}{self.gap()}{inside}{right}"

    def field(self, name: str, inside: str) -> str:
        return f"{name}{self.message(inside)}{self.end()}"

    def versions(self, versions: tuple[int, ...]) -> str:
        numbers = [self.pick(str(v), hex(v), f"000{v:o}") for v in self._random.sample(versions, len(versions))]
        if self._random.random() < 0.4:
            listed = f"{self.gap()},{self.gap()}".join(numbers)
            return f"versions: [{self.gap()}{listed}{self.gap()}]{self.end()}"
        return "".join(f"versions:{self.gap()}{number}{self.end()}" for number in numbers)

    def policy(self, policy: Policy) -> str:
        if policy == Policy() and self._random.random() < 0.5:
            return self.pick("", self.field("model_version_policy", ""))
        inside = {
            "latest": f"num_versions: {policy.count}{self.end()}",
            "all": "",
            "specific": self.versions(policy.versions),
        }[policy.choice]
        return self.field("model_version_policy", self.field(policy.choice, inside))

    def labels(self, labels: Mapping[str, int]) -> str:
        entries = [[f'key: "{key}"{self.end()}', f"value: {value}{self.end()}"] for key, value in labels.items()]
        for entry in entries:
            self._random.shuffle(entry)
        if self._random.random() < 0.4:
            listed = f"{self.gap()},{self.gap()}".join(self.message("".join(entry)).lstrip(":") for entry in entries)
            return f"version_labels: [{self.gap()}{listed}{self.gap()}]{self.end()}"
        return "".join(self.field("version_labels", "".join(entry)) for entry in entries)

    def model(self, served: ConfiguredModel) -> str:
        parts = [
            f"name: '{served.name}'{self.end()}",
            f'base_path: "{served.base_path}"{self.end()}',
            self.policy(served.policy),
            self.labels(served.labels),
        ]
        self._random.shuffle(parts)
        return self.field("config", "".join(parts))

    def file(self, all_of_them: list[ConfiguredModel]) -> str:
        return self.gap() + self.field("model_config_list", "".join(map(self.model, all_of_them)))


@given(st.integers(0, 2**32), st.lists(st.tuples(POLICIES, LABELS), min_size=1, max_size=3), POLICIES, LABELS, st.data())
def test_any_file_any_change(
    seed: int, drawn: list[tuple[Policy, dict[str, int]]], policy: Policy, labels: dict[str, int], data: st.DataObject
) -> None:
    fleet = [ConfiguredModel(f"m{n}", "/m } {", *one) for n, one in enumerate(drawn)]
    text = Writer(seed).file(fleet)
    assert list(models(text)) == fleet
    which = data.draw(st.integers(0, len(fleet) - 1))
    after = change(text, f"m{which}", policy, labels)
    fleet[which] = ConfiguredModel(f"m{which}", "/m } {", policy, labels)
    assert list(models(after)) == fleet
    replaced = len(policy.versions) >= len(drawn[which][0].versions)
    if policy.choice == drawn[which][0].choice and replaced and labels.keys() >= drawn[which][1].keys():
        assert COMMENT.findall(after) == COMMENT.findall(text)
    assert change(after, f"m{which}", policy, labels) == after
