"""Print a few examples per task: `python -m stages.tasks [split] [count]`."""

import sys

from stages.tasks import REGISTRY, generate

split, count = (sys.argv[1:] + ["test", "6"][len(sys.argv) - 1 :])[:2]
for task in REGISTRY:
    for example in generate(task, split, int(count), seed=0):  # type: ignore[arg-type]
        print(f"{task:12}{example.level:11}{example.prompt}\n{'':23}{example.answer}")
