"""From a configuration to its engine. Engines are imported only when they are used."""

import functools
import random
from pathlib import Path
from typing import TYPE_CHECKING

from evolve.config import Config, GrpoConfig, ScriptedConfig, ServerConfig, VllmConfig
from evolve.engine import Sampling
from evolve.errors import ConfigError
from evolve.launch import ALONE, Place
from evolve.protocols import Engine

if TYPE_CHECKING:
    from evolve.engine.server import ServerSettings
    from evolve.engine.vllm import VllmEngine


def build_engine(config: Config, model: Path | None, place: Place = ALONE, *, attempts: int = 0) -> Engine:
    """Start this process's engine; a local model is loaded in a process of its own, or here where there are ranks.

    Args:
        config: Of the run.
        model: The policy's folder, where it is on this machine.
        place: This process among those of the run.
        attempts: How many the run has stored already; a model draws otherwise than when the run began.

    Raises:
        ConfigError: The engine is unknown, or refuses the model or an option.
    """
    engine = config.engine
    if isinstance(engine, ScriptedConfig):
        from evolve.engine.scripted import ScriptedEngine

        return ScriptedEngine(Path(engine.file), latency_s=engine.latency_s)
    if isinstance(engine, ServerConfig):
        from evolve.engine.server import ServerEngine

        return ServerEngine(_server_settings(config, engine), _sampling(config))
    if isinstance(engine, VllmConfig) and model is not None:
        from evolve.engine.apart import EngineApart, PolicyApart

        start = vllm_start(config, engine, model, place, attempts=attempts)
        if place.ranks > 1:  # it joins the ranks' process group, which is this process's
            return start()
        return PolicyApart(start) if isinstance(config.learner, GrpoConfig) else EngineApart(start)
    raise ConfigError(f"engine={engine.kind} is unknown")


def check_engine(config: Config) -> None:
    """Refuse an engine that could not be started; of one that loads a model only its start can tell.

    Raises:
        ConfigError: A file that the engine needs cannot be read, or an option cannot be used.
    """
    if not isinstance(config.engine, VllmConfig):
        build_engine(config, None).close()


def reach_server(config: Config, engine: ServerConfig) -> str:
    """Return in words that the server is there; no completion is asked for.

    Raises:
        ConfigError: The key's file cannot be read, or an option cannot be used.
        EngineError: The server cannot be reached, or refuses the key.
    """
    from evolve.engine.server import reach

    return reach(_server_settings(config, engine))


def _server_settings(config: Config, engine: ServerConfig) -> "ServerSettings":
    from evolve.engine.server import ServerSettings

    return ServerSettings(
        url=engine.url,
        model=config.model,
        api_key=None if engine.key_file is None else _read_key(Path(engine.key_file)),
        in_flight=engine.in_flight,
        timeout_s=engine.timeout_s,
        retries=engine.retries,
    )


def vllm_start(
    config: Config, engine: VllmConfig, model: Path, place: Place = ALONE, *, attempts: int = 0
) -> "functools.partial[VllmEngine]":
    """Return what starts vLLM in the process that calls it, as a run's configuration says.

    Args:
        config: Of the run.
        engine: Its engine.
        model: The policy's folder.
        place: This process among those of the run.
        attempts: How many the run has stored already.
    """
    from evolve.engine.vllm import VllmEngine
    from evolve.engine.vllm_start import VllmSettings

    learner = config.learner if isinstance(config.learner, GrpoConfig) else None
    settings = VllmSettings(
        max_model_len=engine.max_model_len,
        max_num_seqs=engine.max_num_seqs,
        gpu_memory_utilization=engine.gpu_memory_utilization,
        kv_cache_gib=engine.kv_cache_gib,
        compile=engine.compile,
        logprobs=engine.logprobs or learner is not None,
        seed=_engine_seed(config.run.seed, place.rank, attempts),
        lora_rank=learner.lora_rank if learner is not None and learner.method == "lora" else 0,
        sleep=learner is not None and learner.sleep,
        dtype=engine.dtype,
        ranks=place.ranks,
    )
    return functools.partial(VllmEngine, model, _sampling(config), settings)


def _engine_seed(seed: int, rank: int, attempts: int) -> int:
    """Return what seeds the random numbers of an engine, from 0 to 2**32 - 1, whatever integer the run's seed is.

    An engine that is started anew, for a run that is resumed, must not draw the same replies to the same prompts again.
    """
    return random.Random(f"{seed}:{rank}:{attempts}").getrandbits(32)


def _sampling(config: Config) -> Sampling:
    options = config.sampling
    return Sampling(temperature=options.temperature, top_p=options.top_p, max_tokens=options.max_tokens)


def _read_key(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"cannot read engine.key_file={path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"engine.key_file={path} is no text: it must hold the API key alone") from error
