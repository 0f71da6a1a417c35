"""What can be wrong with templates and rows, as far as their authors can mend it."""


class DataError(ValueError):
    """Rows that cannot be loaded or do not suffice: no such data set, split, file or column, or a damaged cell."""


class TemplateError(ValueError):
    """A template file that cannot be read, or a template that fails on a row."""
