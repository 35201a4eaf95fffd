# SPDX-License-Identifier: Apache-2.0
"""The controller's lease in the host cluster, as the elector's store."""

import datetime as dt

from ashore import kube, runtime
from ashore.kube import objects


class KubeLease:
    """A coordination/v1 Lease; its resourceVersion is the version that compare-and-swap goes by."""

    def __init__(self, client: kube.Client, namespace: str, name: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name

    async def read(self) -> runtime.LeaseRecord | None:
        """The lease. Raises LeaseUnreachable."""
        try:
            return _record(await self._client.get(kube.LEASES, self._name, self._namespace))
        except kube.NotFound:
            return None
        except kube.ApiError as error:
            raise runtime.LeaseUnreachable(str(error)) from error

    async def write(self, record: runtime.LeaseRecord, previous: runtime.LeaseRecord | None) -> runtime.LeaseRecord:
        """Writes unless somebody did since ``previous``. Raises LeaseTaken, LeaseUnreachable."""
        spec = _spec(record, is_new_holder=previous is None or previous.holder != record.holder)
        try:
            if previous is None:
                body = {"metadata": {"name": self._name, "namespace": self._namespace}, "spec": spec}
                return _record(await self._client.create(kube.LEASES, body))
            written = await self._client.patch(
                kube.LEASES, self._name, self._namespace, {"spec": spec}, resource_version=previous.version
            )
        except (kube.Conflict, kube.NotFound) as error:
            raise runtime.LeaseTaken(str(error)) from error
        except kube.ApiError as error:
            raise runtime.LeaseUnreachable(str(error)) from error
        return _record(written)


def _spec(record: runtime.LeaseRecord, *, is_new_holder: bool) -> dict[str, object]:
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec: dict[str, object] = {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": max(1, round(record.duration_s)),
        "renewTime": now,
        "leaseTransitions": record.transitions,
    }
    return spec | ({"acquireTime": now} if is_new_holder else {})


def _record(lease: objects.Lease) -> runtime.LeaseRecord:
    spec = lease.spec
    return runtime.LeaseRecord(
        holder=spec.holder_identity or "",
        duration_s=float(spec.lease_duration_seconds or 0),
        version=lease.metadata.resource_version,
        transitions=spec.lease_transitions or 0,
    )
