# SPDX-License-Identifier: Apache-2.0
"""Failures whose cause isn't ours, each with its reason. A case here that passes isn't known any more: take it out."""

import msgspec

from ashore.check import verdict


class Known(msgspec.Struct, frozen=True):
    """Cases whose fields have these values; empty: any."""

    why: str
    via: str = ""
    protocol: str = ""
    family: str = ""
    client: str = ""

    def covers(self, case: verdict.Case) -> bool:
        """Whether the case is among them."""
        wanted = (self.via, self.protocol, self.family)
        found = (case.via, case.protocol, case.family)
        fits = all(not want or want == have for want, have in zip(wanted, found, strict=True))
        return fits and case.client.startswith(self.client)


KNOWN: tuple[Known, ...] = ()


def mark(case: verdict.Case) -> verdict.Case:
    """The case, said to be known where it is."""
    if case.ok:
        return case
    reason = next((each.why for each in KNOWN if each.covers(case)), "")
    return msgspec.structs.replace(case, known=True, hint=reason) if reason else case
