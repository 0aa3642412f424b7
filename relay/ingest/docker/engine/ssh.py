"""Connects to engines behind ``ssh://`` URLs.

Importing this module imports asyncssh, if that is installed, which takes some 14 MB and 130 ms.
Therefore `client` imports it when the first such engine is connected.
"""

from aiodocker.ssh import SSHConnector


class CleanSSHConnector(SSHConnector):
    """aiodocker's connector would send the whole environment, with secrets, to the remote host."""

    def _clean_environment(self) -> dict[str, str]:
        return {}
