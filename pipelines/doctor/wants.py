"""What the runs of a profile ask of a cluster."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines import conventions, hardware


@dataclass(frozen=True)
class Wants:
    """Of no profile, all that any may ask for but GPU nodes."""

    profile: hardware.Profile | None
    provider: hardware.Provider | None
    image: str | None

    @property
    def used(self) -> list[hardware.Hardware]:
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
        return sorted({one.queue for one in self.used if one.queue})

    @property
    def pools(self) -> list[str]:
        return sorted({one.pool for one in self.used if one.pool})

    @property
    def trainer(self) -> bool:
        """Whether a training spreads over nodes, as a TrainJob."""
        return any(one.nodes > 1 for one in self.used)
