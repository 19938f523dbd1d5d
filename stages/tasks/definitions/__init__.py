"""One module per generated task: its facts (`INFO`), and how it draws, grades and states a problem."""
