"""models.config: what is read of it, and what is refused with its place."""

import pytest

from healer.model_servers.tensorflow_serving.config import find, models, read
from healer.model_servers.tensorflow_serving.spans import octals
from healer.model_servers.versions import ConfigError, ConfiguredModel, Policy, specific

FILE = """\
# what the fleet serves
model_config_list {
  config {
    name: "ranker"  # the home page
    base_path: "/models/ranker"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 41 versions: 42 } }
    version_labels { key: "stable" value: 41 }
    version_labels { key: "canary" value: 42 }
    logging_config { sampling_config { sampling_rate: 0.01 per_task_sampling_configs { dc: "a" task_index: 0 } } }
  }
  config: < name: 'spell' "er", base_path: "/models/speller"; model_type: TENSORFLOW >
  config { name: "all" base_path: "/models/all" model_version_policy { all {} } }
  config { name: "two" base_path: "/models/two" model_version_policy { latest { num_versions: 2 } } }
  config { name: "zero" base_path: "/models/zero" model_version_policy { latest {} } }
}
"""


def one(inside: str) -> str:
    return f'model_config_list {{\n  config {{ name: "a" base_path: "/a" {inside} }}\n}}\n'


def test_what_a_file_says() -> None:
    assert models(FILE) == (
        ConfiguredModel("ranker", "/models/ranker", specific([42, 41]), {"stable": 41, "canary": 42}),
        ConfiguredModel("speller", "/models/speller", Policy("latest", 1), {}),
        ConfiguredModel("all", "/models/all", Policy("all"), {}),
        ConfiguredModel("two", "/models/two", Policy("latest", 2), {}),
        ConfiguredModel("zero", "/models/zero", Policy("latest", 1), {}),
    )


def test_an_empty_file_has_no_models() -> None:
    assert models("# nothing yet\n") == ()


@pytest.mark.parametrize(
    ("policy", "said", "loads"),
    [(Policy("latest", 2), "latest 2", None), (Policy("all"), "all", None), (specific([3, 2, 3]), "specific 2, 3", False)],
)
def test_a_policy_in_words_and_what_it_loads(policy: Policy, said: str, loads: bool | None) -> None:
    assert str(policy) == said
    assert policy.loads(9) is loads
    assert specific([9]).loads(9) is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('model_config_list {\n  config { nam: "a" }\n}', 'line 2, column 12: .*no field named "nam"'),
        (one("model_version_policy { specific { version: 3 } }"), 'line 2, column .*no field named "version"'),
        (
            one("model_version_policy { specific { versions: 2023_10_01 } }"),
            "line 2, column 82: 2023_10_01 is no number.*20231001",
        ),
        (one("version_labels { key: 'stable' value: 20231001_2 }"), "line 2, column .*is no number.*underscores"),
        (one("model_version_policy { specific { versions: 2023-10-01 } }"), "line 2.*parse integer: 2023-10-01.*whole number"),
        (one('model_version_policy { specific { versions: "3" } }'), 'line 2.*parse integer: "3".*whole number'),
        (one("model_version_policy { specific { versions: 1.5 } }"), "line 2.*parse integer: 1.5.*whole number"),
        (one("model_version_policy { latest {} all {} }"), "line 2.*oneof"),
        ('model_config_list { config { name: "a"', "line 1, column 39: the text ends where '}' is missing"),
        ('model_config_list { config { name: "a } }', "line 1, column 36: '\"' begins a string that does not end"),
        ("model_config_list { config { name: } }", "line 1, column 36: a value is expected, not '}'"),
        ("model_config_list { : }", "line 1, column 21: a field's name is expected, not ':'"),
        (one("model_version_policy { specific { versions: [1 2] } }"), "line 2, column .*',' or ']' is expected, not '2'"),
        (one('} config { name: "a"'), "model 'a' is listed twice"),
        (one("logging_config { custom_logging_config { [type.googleapis.com/x.Y] { a: 1 } } }"), "x.Y.*cannot check"),
        ("[", "value is expected, not 'the end'"),
    ],
)
def test_what_is_refused_says_where(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(text)


def test_a_number_with_an_underscore_in_a_string_or_a_comment_is_none() -> None:
    assert find(one('# 2023_10_01\n model_platform: "2023_10_01"'), "a").name == "a"


@pytest.mark.parametrize("number", ["0b11", "0o7", "\u0666", "2023_10_01"])
def test_a_number_that_the_server_does_not_read_is_refused_though_python_reads_it(number: str) -> None:
    with pytest.raises(ConfigError, match=f"line 1, column [0-9]+: {number} is no number: a version is a whole number"):
        find(f'model_config_list {{ config {{ name: "a" version_labels {{ value: {number} }} }} }}', "a")


def test_a_leading_zero_makes_a_number_octal_and_that_is_said() -> None:
    file = 'model_config_list {{ config {{ name: "a" model_version_policy {{ specific {{ versions: {0} }} }} }} }}'
    assert find(file.format("00000006"), "a").policy == specific([6])
    assert octals(file.format("00000006")) == [], "it means what it looks like"
    assert find(file.format("00000010"), "a").policy == specific([8])
    assert octals(file.format("00000010")) == [
        "line 1, column 84: 00000010 is an octal number and means 8: write it without the leading 0"
    ]
    with pytest.raises(ConfigError, match="00000008 is no number, because a leading 0 makes it octal: write 8"):
        find(file.format("00000008"), "a")


def test_messages_inside_each_other_have_an_end() -> None:
    with pytest.raises(ConfigError, match="more than 100 messages inside each other"):
        find("config { " * 100_000, "a")


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"no model 'rank' in it; there are 'ranker', 'speller', 'all', 'two', 'zero'"):
        find(FILE, "rank")
    with pytest.raises(ConfigError, match="there is none at all"):
        find("", "rank")
    with pytest.raises(ConfigError, match="custom_model_config"):
        find("custom_model_config { type_url: 'x' }", "rank")


def test_labels_of_versions_that_are_not_loaded() -> None:
    assert ConfiguredModel("a", "", specific([1]), {"stable": 1, "canary": 2}).dangling() == {"canary": 2}
    assert ConfiguredModel("a", "", Policy("latest"), {"stable": 1}).dangling() == {}
