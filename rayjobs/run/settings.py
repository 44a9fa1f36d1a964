"""The user's settings: ``$RAYJOBS_HOME/settings.yaml``, the place for what a job file may only name.

    notify:
      studio: {url: "https://hooks.example.com/rayjobs", headers: {Authorization: "Bearer ..."}}
      bell: {command: [/usr/local/bin/ring, --once]}

It is read when something is named that stands in it, and nobody but its owner may be able to write it: it holds
commands. What is done with it: ``notify``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from actors.home import rayjobs_home
from pipelines.errors import RayjobsError
from rayjobs.job.yaml_data import YamlDataError, compose, construct

MAX_BYTES = 1 << 20


class SettingsError(RayjobsError):
    """The settings can't be used; the text says why, and where."""


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        fits = (
            fits and (parts.port is None or parts.port > 0) and url.isascii() and url.isprintable() and " " not in url
        )
    except ValueError:
        fits = False
    if not fits:
        raise ValueError("is no http:// or https:// address; names and passwords go into headers")
    return url


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Line = Annotated[str, Field(pattern=r"^[\x20-\x7e]*$")]


class Webhook(_Strict):
    """An address that gets JSON by HTTP POST."""

    url: Annotated[str, AfterValidator(_http_url)] = Field(repr=False)
    """Not shown: many services put a secret into it."""
    headers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")], Line] = Field({}, repr=False)

    @property
    def shown(self) -> str:
        """Scheme and host."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}"


class Command(_Strict):
    """A program that gets JSON as its input; started without a shell."""

    command: list[str] = Field(min_length=1, repr=False)

    @property
    def shown(self) -> str:
        """The program alone."""
        return self.command[0]


def _kind(value: Any) -> str:
    return "[command]" if isinstance(value, Mapping) and "command" in value else "[url]"


class Settings(_Strict):
    """All of them."""

    notify: dict[
        str, Annotated[Annotated[Webhook, Tag("[url]")] | Annotated[Command, Tag("[command]")], Discriminator(_kind)]
    ] = {}


def settings_path() -> Path:
    """Where they are."""
    return rayjobs_home() / "settings.yaml"


def read_settings() -> Settings:
    """The user's settings; those that there are by default when there is no file.

    Raises
    ------
    SettingsError
        Others may write the file; or it isn't what it has to be.
    """
    path = settings_path()
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsError(f"{path}: others may write it, and it holds commands; `chmod 600` it, or remove it")
    if len(text) > MAX_BYTES:
        raise SettingsError(f"{path}: has more than {MAX_BYTES:,} bytes")
    try:
        raw, misread = construct(compose(text.decode()))
        for location, problem in misread.items():
            raise SettingsError(f"{path}: {'.'.join(map(str, location))}: {problem}")
        return Settings.model_validate({} if raw is None else raw)
    except (YamlDataError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if not str(part).startswith("["))
        raise SettingsError(f"{path}: {place}: {first['msg'].removeprefix('Value error, ')}") from error
