"""One engine for many runs: loading a model takes a minute, and most arms of a study ask for the same one."""

from pathlib import Path
from types import TracebackType
from typing import Self

from evolve.config import Config, EngineConfig, FrozenConfig, SamplingConfig
from evolve.engine.build import build_engine
from evolve.protocols import Engine

EngineKey = tuple[EngineConfig, str, str, SamplingConfig]


def engine_key(config: Config) -> EngineKey | None:
    """Return what must be equal for two runs to share an engine; None for a run that changes its policy.

    The run's seed is no part of it: an engine that goes on with the next run goes on with its random numbers.
    """
    if not isinstance(config.learner, FrozenConfig):
        return None
    return config.engine, config.model, config.model_cache, config.sampling


class Engines:
    """Keeps the last run's engine for the next one, if that asks for the same; one at a time, for memory."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._key: EngineKey | None = None
        self.built = 0

    def lend(self, config: Config, model: Path | None, *, attempts: int) -> Engine:
        """Return an engine for a run; it stays this object's, and the last one lent cannot be used any more.

        Args:
            config: Of the run.
            model: The policy's folder, where the engine needs one.
            attempts: How many the run has stored already.
        """
        key = engine_key(config)
        if self._engine is None or key is None or key != self._key:
            self.drop()
            self._engine = build_engine(config, model, attempts=attempts)
            self._key = key
            self.built += 1
        return self._engine

    def drop(self) -> None:
        """Close the engine, if there is one."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()
