"""Try a model in the browser: `python app.py CHECKPOINT`. Its tasks, its code, a search for a new task, its codebook."""

import sys

try:
    from playground.launch import main
except ModuleNotFoundError as error:
    if error.name != "gradio":
        raise
    sys.exit('Error: the app needs gradio, which is not installed: pip install -c constraints.txt -e ".[app]"')

if __name__ == "__main__":
    main()
