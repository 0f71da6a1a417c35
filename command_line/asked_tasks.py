"""The tasks that flags name, and their rows, each data set loaded once."""

from command_line.task_files import FileArguments
from run_arguments import Arguments
from tasks import SHIPPED_TEMPLATES, SplitRows, Task, load_rows, load_tasks, select_tasks


class AskedTasks:
    """Tasks of a run.

    Args:
        arguments: The flags.

    Attributes:
        known (`dict[str, Task]`): All tasks of template files, by name.
        training (`list[Task]`): Tasks to train on, in order of task id.
        held_out (`list[Task]`): Tasks to search codes for, judge and predict; none where the model's own are asked.

    Raises:
        DataError: A file of rows cannot be read, or is not as the flags say.
        ValueError: There is no task of a name.
    """

    def __init__(self, arguments: Arguments):
        named = arguments.tasks
        self._data_dir = named.data_dir
        self._loaded: dict[str, SplitRows] = {}
        self.known = load_tasks(SHIPPED_TEMPLATES, *named.templates_dir)
        self.training = select_tasks(self.known, named.train_tasks, named.data_dir)
        names = [] if arguments.predicts_own else named.tasks
        self.held_out = select_tasks(self.known, names, named.data_dir, held_out=True)
        if arguments.files.makes_task:
            self._add_files(arguments.files)

    def load_rows(self, task: Task) -> SplitRows:
        """Load a task's rows, unless they are loaded.

        Raises:
            DataError: They cannot be loaded.
        """
        if task.dataset not in self._loaded:
            self._loaded[task.dataset] = load_rows(task.dataset, task.source, self._data_dir)
        return self._loaded[task.dataset]

    def _add_files(self, files: FileArguments) -> None:
        task, rows = files.load_task()
        if any(task.dataset == other.dataset for other in (*self.training, *self.held_out)):
            raise ValueError(f"There is a data set '{task.dataset}' among the tasks: give the files' `--task_name`.")
        self._loaded[task.dataset] = rows
        self.held_out.append(task)
