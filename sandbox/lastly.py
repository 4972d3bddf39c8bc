"""How a forked process ends: never by unwinding into the code of the process that forked it."""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType
from typing import Self


class EndsProcess:
    """Ends the process at the end of its block: status 0, or 1 after an exception, with the traceback on stderr."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                traceback.print_exception(error)
                sys.stderr.flush()
        finally:
            os._exit(0 if error is None else 1)
