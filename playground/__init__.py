"""The app: try a model in the browser, and put it on a Hugging Face Space."""
