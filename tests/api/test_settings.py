"""Settings: where they come from, which are refused, and what never shows."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.settings import NotConfigured, Settings, new_secret
from tests.support.backend import ROOT

GOOGLE_KEYS = ("GOOGLE_GENERATIVE_AI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`.env` is exported, for tools and libraries: taken back after each test."""
    before = dict(os.environ)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


def secret(value: str) -> str:
    return Settings.model_validate({"layercode_webhook_secret": value}).webhook_secret


# The webhook's secret


@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_an_empty_secret_is_not_set(value: str) -> None:
    with pytest.raises(NotConfigured, match="LAYERCODE_WEBHOOK_SECRET is not set"):
        secret(value)


@pytest.mark.parametrize(
    "value",
    [
        "your-webhook-secret", "your_layercode_webhook_secret_here", "YOUR_SECRET", "changeme", "change-me-please",
        "changeme123", "whsec_...", "whsec_abc...", "whsec_…", "whsec_", "whsec_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "whsec_your_secret_here", "<secret>", "<your webhook secret>", "[secret from dashboard]", "{{ secret }}",
        "${LAYERCODE_WEBHOOK_SECRET}", "LAYERCODE_WEBHOOK_SECRET", "xxxxxxxx", "XXXX-XXXX-XXXX", "********", "00000000",
        "placeholder", "replace_me", "replace-with-your-secret", "example-secret", "TODO", "todo: set me", "secret",
        "webhook_secret", "test-secret", "secret123", "undefined", "paste it from the dashboard", "short",
    ],
)  # fmt: skip
def test_a_placeholder_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(NotConfigured, match="LAYERCODE_WEBHOOK_SECRET is a placeholder") as refused:
        secret(value)
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(
    "value",
    [
        "whsec_0123456789abcdef", "whsec_9f86d081884c7d659a2feaa0c55ad015", "whsec_xxx6d081884c7d659a2feaa0c55ad015",
        "MTodoYourSecret4xxxQ9zpR==", "k3Exampleplaceholder7Qz", "aVery.Strange-Secret_xxx",
    ],
)  # fmt: skip
def test_a_real_secret_is_accepted_whatever_words_stand_in_it(value: str) -> None:
    assert secret(value) == value


@pytest.mark.parametrize("prefix", ["", "whsec_"])
def test_no_random_secret_is_taken_for_a_placeholder(prefix: str) -> None:
    for _ in range(100):
        random = secrets.token_bytes(16)
        for value in (random.hex(), base64.b64encode(random).decode(), base64.urlsafe_b64encode(random).decode()):
            assert secret(prefix + value) == prefix + value


def test_a_secret_made_for_a_run_is_one_that_is_accepted_and_new_each_time() -> None:
    made = new_secret().get_secret_value()
    assert secret(made) == made
    assert made != new_secret().get_secret_value()


# Where they come from


def test_the_environment_comes_before_env(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MODEL=from:file\nWELCOME_MESSAGE=Hello from the file\n")
    monkeypatch.setenv("MODEL", "from:environment")
    settings = Settings.load()
    assert (settings.model, settings.welcome_message) == ("from:environment", "Hello from the file")


def test_env_is_exported_for_the_tools() -> None:
    Path(".env").write_text("WEATHER_KEY_OF_A_TOOL=42\n")
    Settings.load()
    assert os.environ["WEATHER_KEY_OF_A_TOOL"] == "42"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("WELCOME_MESSAGE=Hello\nMAX_TOOL_STEPS=\n")
    for name in ("MODEL", "MAX_TOOL_STEPS", "WELCOME_MESSAGE", "LOG_LEVEL", "MODEL_FALLBACK", "DRAIN_SECONDS"):
        monkeypatch.setenv(name, "")
    settings = Settings.load()
    assert settings.model == "google_genai:gemini-3.5-flash-lite"
    assert (settings.max_tool_steps, settings.log_level, settings.model_fallback) == (8, "info", None)
    assert settings.welcome_message == "Hello"


@pytest.mark.parametrize("name", GOOGLE_KEYS)
def test_the_google_key_has_three_names(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, " the-key\n")
    assert Settings.load().google_key == "the-key"


def test_an_empty_google_key_does_not_hide_one_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GOOGLE_KEYS[0], "")
    monkeypatch.setenv(GOOGLE_KEYS[2], "the-key")
    assert Settings.load().google_key == "the-key"


def test_nothing_set_means_the_defaults() -> None:
    settings = Settings.load()
    assert settings.google_key is None
    assert (settings.database_url, settings.tools_dir) == ("sqlite:///voice.db", Path("tools"))
    assert settings.layercode_api_url == "https://api.layercode.com/v1"


def test_cors_origins_are_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", " https://a.example,https://b.example , ")
    assert Settings.load().cors_origins == ["https://a.example", "https://b.example"]


def test_the_log_level_may_be_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    assert Settings.load().log_level == "debug"


# What cannot be understood


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_TOOL_STEPS", "many"), ("MAX_TOOL_STEPS", "0"), ("TURN_TIMEOUT_SECONDS", "-1"),
        ("TURN_TIMEOUT_SECONDS", "inf"), ("FIRST_TOKEN_SECONDS", "nan"), ("DRAIN_SECONDS", "inf"),
        ("LOG_LEVEL", "loud"),
    ],
)  # fmt: skip
def test_a_malformed_value_is_explained_by_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(NotConfigured) as refused:
        Settings.load()
    (problem,) = refused.value.problems
    assert problem.startswith(f"{name}: ")
    assert problem.endswith(".")


def test_all_that_is_malformed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_TOOL_STEPS", "many")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(NotConfigured) as refused:
        Settings.load()
    assert sorted(problem.partition(":")[0] for problem in refused.value.problems) == ["LOG_LEVEL", "MAX_TOOL_STEPS"]


def test_an_env_file_that_is_not_text_is_explained() -> None:
    Path(".env").write_bytes(b"WELCOME_MESSAGE=\xff\xfe\n")
    with pytest.raises(NotConfigured, match=r"The file \.env cannot be read"):
        Settings.load()


def test_secrets_never_appear_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    private = {
        "LAYERCODE_WEBHOOK_SECRET": "whsec_9f86d081884c7d65",
        "LAYERCODE_API_KEY": "lc-9f86d081884c7d65",
        "GEMINI_API_KEY": "AIza-9f86d081884c7d65",
        "DATABASE_URL": "postgres://user:9f86d081884c7d65@host/db",
    }
    for name, value in private.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    for shown in (repr(settings), str(settings), f"{settings}"):
        assert "9f86d081884c7d65" not in shown


def test_the_example_says_the_same_to_docker_which_keeps_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert not [name for name, value in values.items() if value[:1] in ('"', "'")]
    read = Settings(_env_file=ROOT / ".env.example")
    assert read.apology_message == values["APOLOGY_MESSAGE"] == Settings(_env_file=None).apology_message
