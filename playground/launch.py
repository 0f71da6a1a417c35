"""Start the app in this process: `python app.py CHECKPOINT`."""

import argparse
import os
import sys
from collections.abc import Sequence

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr

from .checkpoint import Checkpoint
from .handlers import Handlers
from .page import STYLE, build_page

DEFAULT_CHECKPOINT = "out/demo/model"  # what `make demo` leaves
MAX_UPLOAD_BYTES = 1  # nothing on the page takes a file, but gradio has an address for uploads all the same


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page until the process is stopped."""
    parser = argparse.ArgumentParser(
        prog="python app.py",
        description="Try a model in the browser: its tasks, its code, a search for a new task, its codebook.",
    )
    default = os.environ.get("CTR_CHECKPOINT", DEFAULT_CHECKPOINT)
    parser.add_argument(
        "checkpoint", nargs="?", default=default, help="a directory or a Hub name; default: %(default)s"
    )
    parser.add_argument("--port", type=int, default=int(os.environ.get("GRADIO_SERVER_PORT", 7860)))
    options = parser.parse_args(arguments)
    try:
        blocks = build_page(Handlers(Checkpoint.load(options.checkpoint)))
    except ValueError as error:
        sys.exit(f"Error: {error}")
    try:
        launch(blocks, options.port)
    except OSError as error:
        if "port" not in str(error).lower():
            raise
        sys.exit(f"Error: port {options.port} is in use; name another with --port.")


def launch(blocks: gr.Blocks, port: int | None, *, block_thread: bool = True) -> None:
    """Serve a page on a port of this machine.

    Args:
        port: Port to listen on; None for any free one.
        block_thread: Whether to return only when the server has ended.
    """
    fonts = ["system-ui", "sans-serif"]  # of the visitor's machine: nothing is fetched from elsewhere
    blocks.launch(
        server_port=port,
        prevent_thread_lock=not block_thread,
        theme=gr.themes.Default(primary_hue="blue", font=fonts, font_mono=["ui-monospace", "monospace"]),
        css=STYLE,
        footer_links=[],
        show_error=True,
        max_file_size=MAX_UPLOAD_BYTES,
    )
