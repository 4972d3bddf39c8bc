"""Errors this system raises on purpose.

* EvolveError                the command line prints its message, one line that names the cure
  x InputError               the command, the YAML or a file is wrong (exit 2)
    x ConfigError            an option is unknown, unused or out of range
    x ProblemError           no such problem, or its folder or its seed program is unusable
    x ModelError             the model cannot be found, or is not what its hash says
    x RunFolderError         the run folder cannot be used
      x FolderInUseError     another process works on it
    x NotFoundError          the database has no such run or program
  x EngineError              the engine is gone: the run stops and can be resumed (exit 1)
  x LearnerError             training cannot go on: the run stops and can be resumed (exit 1)
  x StoreError               the database is gone or of another version: the run stops (exit 1)

A child program that crashes, and a reply without code, are no errors: they are an `Outcome`.
"""


class EvolveError(Exception):
    """Base of all errors raised on purpose; `str()` is one line that says what is wrong and what to do."""


class InputError(EvolveError):
    """The user's input cannot be used; nothing was changed."""


class ConfigError(InputError, ValueError):
    """An option is unknown, unused or out of range."""


class ProblemError(InputError):
    """A problem cannot be loaded, or its seed program fails its own verifier."""


class ModelError(InputError):
    """A model cannot be found, or its file is not the one its hash names."""


class RunFolderError(InputError):
    """A run folder cannot be written, holds another run, or holds none."""


class FolderInUseError(RunFolderError):
    """Another process works on the run."""


class NotFoundError(InputError, LookupError):
    """The database holds no such run or program."""


class EngineError(EvolveError):
    """The engine stopped answering; what was evaluated is stored and the run can be resumed."""


class LearnerError(EvolveError):
    """Training cannot go on; the database and the last checkpoint are kept and the run can be resumed."""


class AbandonedError(EvolveError):
    """The run was given up by one thread while another went on with it."""


class StoreError(EvolveError):
    """The database cannot be used."""
