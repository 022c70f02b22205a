"""Clients of S3, Google Cloud Storage and Azure: how each is opened.

Keys, tokens, endpoint and region come from the usual environment variables and files of each store. Nothing of that is
recorded.
"""

from __future__ import annotations

import configparser
import datetime
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from trainables.errors import UserError
from trainables.storage_url import StorageUrl

PUBLIC_VARIABLES = (
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ALLOW_HTTP"),
    *("GOOGLE_BASE_URL", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ENDPOINT"),
)
"""Environment variables that say where a store is, without a secret: the nodes of a cluster have keys of their own."""


def public_environment() -> dict[str, str]:
    """Return those of these variables that are set and contain no password, for the nodes of a cluster."""
    values = {name: os.environ[name] for name in PUBLIC_VARIABLES if name in os.environ}
    return {name: value for name, value in values.items() if "@" not in value}


_RETRIES = {"max_retries": 2, "retry_timeout": datetime.timedelta(seconds=10)}
_TIMEOUTS = {"connect_timeout": "5s", "read_timeout": "60s", "timeout": "10m"}


def _options(endpoint_variables: Iterable[str]) -> dict[str, Any]:
    endpoints = [os.environ.get(name, "") for name in endpoint_variables]
    allow_http = {"allow_http": True} if any(endpoint.startswith("http://") for endpoint in endpoints) else {}
    return {"client_options": {**_TIMEOUTS, **allow_http}, "retry_config": _RETRIES}


def _open_s3(url: StorageUrl) -> Any:
    from obstore.store import S3Store

    options = _options(("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"))
    return S3Store(url.bucket, **_aws_profile(), **options)


def _open_gs(url: StorageUrl) -> Any:
    from obstore.store import GCSStore

    return GCSStore(url.bucket, **_options(("GOOGLE_BASE_URL",)))


def _open_abfs(url: StorageUrl) -> Any:
    from obstore.store import AzureStore

    account = {"account_name": url.account} if url.account else {}
    options = _options(("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"))
    return AzureStore(container_name=url.bucket, **account, **options)


def _aws_profile() -> dict[str, str]:
    """Return key and region of the files that ``aws configure`` writes, where the environment has no key."""
    if os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return {}
    profile, home = os.environ.get("AWS_PROFILE", "default"), Path.home() / ".aws"
    credentials, config = configparser.ConfigParser(), configparser.ConfigParser()
    try:
        credentials.read(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", home / "credentials"))
        config.read(os.environ.get("AWS_CONFIG_FILE", home / "config"))
    except configparser.Error as error:
        raise UserError(f"a file of `aws configure` cannot be read: {str(error).splitlines()[0]}") from None
    section = profile if profile == "default" else f"profile {profile}"
    values = {
        "access_key_id": credentials.get(profile, "aws_access_key_id", fallback=""),
        "secret_access_key": credentials.get(profile, "aws_secret_access_key", fallback=""),
        "session_token": credentials.get(profile, "aws_session_token", fallback=""),
    }
    region = "" if os.environ.get("AWS_REGION") else config.get(section, "region", fallback="")
    return {name: value for name, value in {**values, "region": region}.items() if value}


OPENERS: dict[str, Callable[[StorageUrl], Any]] = {"s3": _open_s3, "gs": _open_gs, "abfs": _open_abfs}
"""Function by scheme that opens a store of ``obstore``."""
