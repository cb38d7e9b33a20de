"""The questions that the notebooks ask, one module a question: data frames come back."""
