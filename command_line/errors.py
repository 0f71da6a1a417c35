"""How a command ends by an error: in one line where it is for the user, with the traceback where it is for us."""

import dis
import errno
import os
import sys
from collections.abc import Callable
from types import TracebackType

# Set to anything, it shows every traceback.
DEBUG = "TASK_CODES_DEBUG"
OUR_PACKAGES = {
    "__main__", "codebook_report", "command_line", "evaluation", "export", "modeling_ctr", "playground", "prediction",
    "run_arguments", "run_ctr", "safe_files", "search", "task_codes", "tasks", "trainers",
}  # fmt: skip
# About the user's disk, whoever meets them.
DISK = {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG, errno.EFBIG}


class FlagError(ValueError):
    """Flags or a settings file that cannot be meant; nothing has been loaded yet."""


def run_command(main: Callable[[], None]) -> int:
    """Call `main` and give the exit code of the process.

    What the project raises itself is printed on stderr as one line; so are an interrupt and a disk that is full or not
    to be written to. Everything else is a fault of this program or of a library, and passes with its traceback.

    Returns:
        0, or 2 for wrong flags, 1 for other errors, 130 for an interrupt.
    """
    try:
        main()
    except KeyboardInterrupt:
        if os.environ.get(DEBUG):
            raise
        print("Interrupted; the same command goes on where this one stopped.", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get(DEBUG) or not is_for_the_user(error):
            raise
        print(f"Error: {one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, FlagError) else 1
    return 0


def one_line(error: BaseException) -> str:
    """Return an error's message without its line ends."""
    return " ".join(str(error).split()) or type(error).__name__


def is_for_the_user(error: Exception) -> bool:
    """Whether the message was written by this project, or is about the user's disk."""
    if type(error).__module__.partition(".")[0] in OUR_PACKAGES:  # from a worker process, say, without its traceback
        return True
    if isinstance(error, OSError) and error.errno in DISK:
        return True
    innermost = _innermost(error.__traceback__)
    if innermost is None:
        return False
    module = innermost.tb_frame.f_globals.get("__name__", "")
    # A `raise` of ours, and not something that failed on our line: such as `int(text)` or a missing key, a fault.
    raised = dis.opname[innermost.tb_frame.f_code.co_code[innermost.tb_lasti]] == "RAISE_VARARGS"
    return raised and module.partition(".")[0] in OUR_PACKAGES


def _innermost(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    return frames
