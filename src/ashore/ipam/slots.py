# SPDX-License-Identifier: Apache-2.0
"""A bitmap of slots, some of which rest after use: what ids, subnets and addresses are all counted with."""

import msgspec

REST_S = 60.0
"""How long a freed address isn't given out again: longer than an ARP entry or a conntrack entry in use goes stale."""


class Exhausted(msgspec.Struct, frozen=True):
    """Nothing is free. ``free_at`` is when the first resting slot may be used again, None when none rests."""

    what: str
    in_use: int
    resting: int
    free_at: float | None = None

    def __str__(self) -> str:
        rest = f", {self.resting} rest after use" if self.resting else ""
        return f"{self.what}: all {self.in_use + self.resting} are taken ({self.in_use} in use{rest})"


class Rejected(msgspec.Struct, frozen=True):
    """A recorded value can't stand; ``why`` names it."""

    why: str


class Slots(msgspec.Struct, frozen=True):
    """Slots 0..size-1. ``used`` has a bit for each that is taken or resting; ``resting`` says until when."""

    size: int
    reserved: int = 0
    """Bits of slots that are never given out."""
    used: int = 0
    resting: tuple[tuple[int, float], ...] = ()
    """(slot, end of its rest), in the order of release."""

    @property
    def in_use(self) -> int:
        """How many slots are taken, resting ones not counted."""
        return self.used.bit_count() - len(self.resting)

    @property
    def capacity(self) -> int:
        """How many slots there are to give out."""
        return self.size - self.reserved.bit_count()

    def take(self, now: float) -> "tuple[Slots, int] | None":
        """The book with the lowest free slot taken, and that slot; None when there is none."""
        awake = self._wake(now)
        taken = awake.used | awake.reserved
        slot = (~taken & (taken + 1)).bit_length() - 1
        if slot >= self.size:
            return None
        return msgspec.structs.replace(awake, used=awake.used | 1 << slot), slot

    def claim(self, slot: int) -> "Slots | None":
        """The book with this very slot taken, also out of its rest; None when that can't be."""
        if not self.can_claim(slot):
            return None
        resting = tuple(entry for entry in self.resting if entry[0] != slot)
        return msgspec.structs.replace(self, used=self.used | 1 << slot, resting=resting)

    def can_claim(self, slot: int) -> bool:
        """Whether the slot exists, isn't reserved and isn't in use."""
        if not 0 <= slot < self.size or self.reserved >> slot & 1:
            return False
        return not self.used >> slot & 1 or any(slot == resting for resting, _ in self.resting)

    def release(self, slot: int, now: float, *, rest_s: float = 0.0) -> "Slots":
        """The book with the slot free again after its rest. Freeing a free or resting slot changes nothing."""
        if not self.used >> slot & 1 or any(slot == resting for resting, _ in self.resting):
            return self
        if rest_s > 0:
            return msgspec.structs.replace(self, resting=(*self.resting, (slot, now + rest_s)))
        return msgspec.structs.replace(self, used=self.used & ~(1 << slot))

    def exhausted(self, what: str) -> Exhausted:
        """Why ``take`` gave nothing."""
        free_at = min((until for _, until in self.resting), default=None)
        return Exhausted(what, self.in_use, len(self.resting), free_at)

    def _wake(self, now: float) -> "Slots":
        awake = [slot for slot, until in self.resting if until <= now]
        if not awake:
            return self
        used = self.used
        for slot in awake:
            used &= ~(1 << slot)
        return msgspec.structs.replace(self, used=used, resting=tuple(e for e in self.resting if e[1] > now))
