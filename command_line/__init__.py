"""What `run_ctr.py` does around its work: settings files, errors in one line, and the arguments that a run keeps."""
