# SPDX-License-Identifier: Apache-2.0
"""``python -m ashore.lab.apiready``: returns when the control plane's own API server is ready."""

import http.client
import pathlib
import ssl
import sys
import time

from ashore.lab import addresses, kubernetes

_PAUSE_S = 0.1


class NotReady(Exception):  # noqa: N818 (a finding)
    """It wasn't in time; the text says what it answered last."""


def wait(authority: pathlib.Path, port: int, *, within_s: float) -> None:
    """Asks ``/readyz`` on loopback again and again: an API server tells nobody when it becomes ready."""
    trust = ssl.create_default_context(cafile=str(authority))
    limit, why = time.monotonic() + within_s, ""
    while time.monotonic() < limit:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=trust)
        try:
            connection.request("GET", "/readyz")
            reply = connection.getresponse()
            if reply.status == http.HTTPStatus.OK:
                return
            why = f"{reply.status} {reply.reason}"
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
        finally:
            connection.close()
        time.sleep(_PAUSE_S)
    raise NotReady(why)


if __name__ == "__main__":
    try:
        wait(pathlib.Path(kubernetes.PKI, "ca.crt"), addresses.API_PORT, within_s=120)
    except NotReady as error:
        sys.exit(f"API server: not ready ({error})")
