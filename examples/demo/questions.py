"""The questions of the demo: small talk, facts, reasoning, writing and code, short and long, in mixed order.

Each kind appears at even and at odd places, so that both frameworks get some of each. Some long ones are easy and some
short ones are not: a router that judges by the query alone gets such questions wrong, here as in real traffic.
"""

from __future__ import annotations

__all__ = ["QUESTIONS"]

QUESTIONS = (
    "Hello! How are you today?",
    "What is the capital of France?",
    "A baker makes 24 rolls an hour. She works for 5 hours and sells all but 17 rolls, half of them at 0.80 euros each "
    "and the other half, in the evening, at half that price. How much money does she take in?",
    "Write a Python function that returns the n-th Fibonacci number without recursion.",
    "How do I say 'good morning' in Spanish?",
    "A train leaves at 9:40 and arrives at 13:05. How many minutes does the journey take?",
    "What does a thermometer measure?",
    "Please turn this into one polite line to my landlord: the heating in the kitchen has been off since Monday, it is "
    "cold, I work from home all week, so somebody can come at any time.",
    "Write an SQL query for the second highest salary in the table employees(name, salary).",
    "Thank you, that was very helpful!",
    "A company's two machines make 1,200 and 800 screws a day. Of the first machine's screws 2 % are faulty, of the "
    "second's 3 %. If a screw taken at random from a day's work is faulty, how likely is it from the first machine?",
    "Prove that the sum of two odd integers is even.",
    "Why is the sky blue? Answer in one sentence.",
    "This function should return the average of a list, but it raises ZeroDivisionError for an empty one, and None "
    "values break it as well. Mend it so that it skips None and returns None if nothing is left:\n\n"
    "def average(values):\n    total = 0\n    for value in values:\n        total += value\n"
    "    return total / len(values)",
)
