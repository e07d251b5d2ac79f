"""What ``01_demo.py`` is made of, in the order in which it happens.

questions.py   the questions
ask.py         question → answer with its routing decision, through LangChain or through LlamaIndex
report.py      answers → rows, shares, seconds
"""
