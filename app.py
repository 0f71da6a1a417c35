"""Try a model in the browser: `python app.py CHECKPOINT`. Its tasks, its code, a search for a new task, its codebook."""

from playground.launch import main

if __name__ == "__main__":
    main()
