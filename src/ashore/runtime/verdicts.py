# SPDX-License-Identifier: Apache-2.0
"""The two words that a reconcile loop knows beside success; anything else raised in it is a bug."""


class Retry(Exception):  # noqa: N818 (a verdict, not an error)
    """Not yet: look at the key again after ``after_s`` seconds, or when something says so earlier."""

    def __init__(self, after_s: float, why: str) -> None:
        super().__init__(why)
        self.after_s = after_s
        self.why = why


class Refused(Exception):  # noqa: N818 (a verdict, not an error)
    """It can't be right as it stands: report it and wait until the key changes."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
