"""All settings in one class, read from the environment and `.env`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from dotenv import load_dotenv
from pydantic import BaseModel, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.settings.conversation import ConversationSettings
from api.settings.errors import NotConfigured
from api.settings.model import ModelSettings
from api.settings.platforms import PlatformSettings
from api.settings.secrets import is_placeholder
from api.settings.server import ServerSettings
from api.settings.storage import StorageSettings

SECTIONS: tuple[type[BaseModel], ...] = (
    PlatformSettings,
    ModelSettings,
    StorageSettings,
    ConversationSettings,
    ServerSettings,
)

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE|_DSN\b", re.IGNORECASE)


class Settings(ServerSettings, ConversationSettings, StorageSettings, ModelSettings, PlatformSettings, BaseSettings):
    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _strip(cls, value: object) -> object:
        return value.strip() if isinstance(value, str) else value

    @classmethod
    def load(cls) -> Settings:
        """From the environment and `.env`. NotConfigured names each variable that cannot be understood."""
        try:
            load_dotenv(".env")
            return cls()
        except ValidationError as error:
            raise NotConfigured(
                *(f"{str(fault['loc'][0]).upper()}: {fault['msg']}." for fault in error.errors())
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise NotConfigured(f"The file .env cannot be read: {error}.") from None

    @property
    def webhook_secret(self) -> str:
        """The secret that requests are signed with. NotConfigured when it would let anybody in."""
        secret = self.layercode_webhook_secret.get_secret_value()
        if not secret:
            raise NotConfigured(
                "LAYERCODE_WEBHOOK_SECRET is not set: copy it from your agent's page in the Layercode dashboard."
            )
        self.check_secrets(["layercode_webhook_secret"])
        return secret

    def all_secrets(self) -> list[str]:
        """These settings' secrets, the database's password, and what the environment, with `.env`, calls a key, a token
        or the like: tools and libraries have theirs there."""
        own = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        password = urlsplit(self.database_url).password or ""
        named = [value for name, value in os.environ.items() if _SECRET_NAME.search(name)]
        return [secret for secret in (*own, password, unquote(password), *named) if secret]

    def check_secrets(self, names: Iterable[str]) -> None:
        """NotConfigured when one of these settings would let anybody in."""
        for name in names:
            if is_placeholder(getattr(self, name)):
                raise NotConfigured(
                    f"{name.upper()} is a placeholder: anybody could sign with it. Copy the real one from where"
                    " docs/platforms.md says."
                )
