"""Lines of a log that can be read at 80 columns: the time and the message, with the level where it is a warning."""

import logging


class Formatter(logging.Formatter):
    """Formats `09:12:01 message`, or `09:12:01 WARNING message`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", datefmt="%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of a record whose message is known."""
        line = super().formatMessage(record)
        if record.levelno >= logging.WARNING:
            time, _, message = line.partition(" ")
            line = f"{time} {record.levelname} {message}"
        return line


def start_logging(is_main_process: bool) -> None:
    """Log to stderr, from the main process what is of interest and from all others warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter())
    level = logging.INFO if is_main_process else logging.WARNING
    logging.basicConfig(handlers=[handler], level=level)


class NewCodebook(logging.Filter):
    """Keeps the loader's report of missing weights back where all of them are the codebook's, which is to be new."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        message = record.getMessage()
        if "LOAD REPORT" not in message:
            return True
        rows = [line.split("|") for line in message.splitlines() if "|" in line][1:]
        return not all("task_codebook." in row[0] and "MISSING" in row[1] for row in rows)
