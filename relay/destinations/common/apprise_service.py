"""A service of Apprise (https://github.com/caronc/apprise), as relay uses it.

Importing this module and opening a service loads all of Apprise's services, which takes a second
and 35 MB, so only configurations with ``type: apprise`` do it. Of Apprise only the services are
used: none of its configuration files, attachments, plugins of others, files of its own, retries, or
its pool of threads, which would keep a process from ending.

Apprise sends by way of requests, which takes proxies, passwords and certificates from the
environment and from ``~/.netrc``. relay takes nothing from there, so the session that requests
opens for each call is replaced by one that does not either. Nothing else in relay uses requests.
"""

import logging
import ssl
from collections.abc import Iterable
from typing import Any

import requests
from apprise import Apprise, AppriseAsset
from apprise.common import OverflowMode
from apprise.manager_plugins import NotificationManager
from apprise.plugins.base import NotifyBase
from urllib3 import disable_warnings

_paths = ssl.get_default_verify_paths()
SYSTEM_AUTHORITIES = _paths.cafile or _paths.capath or True
"""The certificates that the system trusts; True for those that requests brings along."""


class _PlainSession(requests.Session):
    """A session that takes nothing from the environment, and trusts what the system trusts."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False

    def merge_environment_settings(self, *args: Any, **more: Any) -> dict[str, Any]:
        settings = super().merge_environment_settings(*args, **more)
        if settings["verify"] is True:
            settings["verify"] = SYSTEM_AUTHORITIES
        return settings


requests.Session = requests.sessions.Session = _PlainSession  # type: ignore[misc]
disable_warnings()  # of ``verify=no``: they would be printed, with the host
for _library in ("urllib3", "requests", "oauthlib", "requests_oauthlib", "MARKDOWN"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)  # their lines hold URLs
LOGGER = logging.getLogger("apprise")
"""Apprise's log, which is shown nowhere: its lines hold parts of URLs."""
LOGGER.addHandler(logging.NullHandler())
LOGGER.propagate = False
LOGGER.setLevel(logging.WARNING)


def open_service(url: str, connect_s: float, total_s: float) -> NotifyBase | None:
    """Return the service of a URL; None if the URL is not one that Apprise accepts.

    ``connect_s`` and ``total_s`` bound each of its requests, if it makes requests over HTTP. Text
    that is too long for the service is cut, unless the URL says ``overflow=split``.
    """
    asset = AppriseAsset(
        storage_mode="memory",
        pgp_autogen=False,
        pem_autogen=False,
        interpret_emojis=False,
        interpret_escapes=False,
        http_redirects=False,
        secure_logging=True,
    )
    service = Apprise.instantiate(url, asset=asset)
    if service is not None:
        service.socket_connect_timeout, service.socket_read_timeout = connect_s, total_s
        if service.overflow_mode == OverflowMode.UPSTREAM:
            service.overflow_mode = OverflowMode.TRUNCATE
    return service


def find_fault(url: str) -> str | None:
    """Return why Apprise cannot send to a URL, without any part of it but its scheme; else None."""
    if open_service(url, 1, 1) is not None:
        return None
    scheme = url.partition("://")[0].lower()
    services = NotificationManager()  # type: ignore[no-untyped-call]
    if scheme not in services:
        return f"begins with {scheme}://, which no service of Apprise has"
    if not services[scheme].enabled:
        packages = services[scheme].requirements.get("packages_required") or ()
        names = [packages] if isinstance(packages, str) else list(packages)
        return "is of a service that " + _describe_missing(scheme, names)
    return f"is not what Apprise expects after {scheme}://: see https://appriseit.com/services/"


def _describe_missing(scheme: str, packages: Iterable[str]) -> str:
    if names := " ".join(f"'{name}'" for name in packages):
        return f"needs what is not installed: pip install {names}"
    return f"cannot be used on this system ({scheme}://)"
