"""The needs of a profile's runs: what a cluster must have."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines import conventions, hardware


@dataclass(frozen=True)
class Needs:
    """The needs of a profile; without one, all that any profile may need except GPU nodes."""

    profile: hardware.Profile | None
    provider: hardware.Provider | None
    image: str | None

    @property
    def hardware(self) -> list[hardware.Hardware]:
        if self.profile is None:
            return []
        return [self.profile.of(stage) for stage in hardware.STAGES]

    @property
    def secrets(self) -> list[str]:
        return list(conventions.SECRETS if self.profile is None else self.profile.secrets)

    @property
    def volume(self) -> str | None:
        return conventions.VOLUME_CLAIM if self.profile is None else self.profile.volume

    @property
    def queues(self) -> list[str]:
        if self.profile is None:
            return list(conventions.QUEUES)
        return sorted({each.queue for each in self.hardware if each.queue})

    @property
    def pools(self) -> list[str]:
        return sorted({each.pool for each in self.hardware if each.pool})

    @property
    def trainer(self) -> bool:
        """Return whether a training uses several nodes, as a TrainJob."""
        return any(hardware.nodes > 1 for hardware in self.hardware)
