"""A look at a codebook: pictures and one page of the tasks' codes and of a search."""
