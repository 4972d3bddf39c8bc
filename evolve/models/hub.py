"""Models from the Hugging Face hub, where it can be reached.

Everything about the hub (its address, a proxy, its cache, being offline) is the library's own business and set by the
library's own environment variables.
"""

import threading
from collections.abc import Callable
from pathlib import Path

import httpx

from evolve.errors import ModelError

#: How long the hub has to answer one small request before it counts as out of reach, in seconds, names included.
_PROBE_S = 4.0
#: No pickles: they run code when they are loaded.
_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model"]


def cached_snapshot(hub_id: str) -> Path | None:
    """Return the folder of a model that the hub's own cache already holds, or None."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=_FILES, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError):
        return None
    # An interrupted download leaves a folder without weights.
    return folder if any(folder.glob("*.safetensors")) else None


def reachable() -> bool:
    """Return whether the hub answers within seconds: one request for a header decides."""
    from huggingface_hub import constants, is_offline_mode

    if is_offline_mode():
        return False
    answered = threading.Event()

    def probe() -> None:
        try:
            answer = httpx.head(constants.ENDPOINT, timeout=_PROBE_S, follow_redirects=True)
        except httpx.HTTPError:
            return
        if answer.status_code < httpx.codes.BAD_REQUEST:
            answered.set()

    # In a thread, for looking up the host's name knows no time limit; a daemon, for nobody waits for it.
    thread = threading.Thread(target=probe, name="hub-probe", daemon=True)
    thread.start()
    thread.join(_PROBE_S)
    return answered.is_set()


def fetch_snapshot(hub_id: str, notify: Callable[[str], None]) -> Path:
    """Download a model into the hub's own cache and return its folder.

    Raises:
        ModelError: The hub has no such model, does not give it, or the connection breaks.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    notify(f"downloading {hub_id} from the hub")
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=_FILES, etag_timeout=_PROBE_S))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, httpx.HTTPError) as error:
        words = " ".join(str(error).split())[:300]
        raise ModelError(
            f"the hub does not give {hub_id} ({words}); see its name and that you may read it, or name a folder"
        ) from error
    return folder
