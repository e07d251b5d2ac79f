"""The questions of the demo: small talk, facts, reasoning and code, in mixed order.

Each kind appears at even and at odd places, so that both frameworks get some of each.
"""

from __future__ import annotations

__all__ = ["QUESTIONS"]

QUESTIONS = (
    "Hello! How are you today?",
    "What is the capital of France?",
    "A baker makes 24 rolls an hour. She works for 5 hours and sells all but 17 rolls. How many rolls does she sell?",
    "Write a Python function that returns the n-th Fibonacci number without recursion.",
    "How do I say 'good morning' in Spanish?",
    "A train leaves at 9:40 and arrives at 13:05. How many minutes does the journey take?",
    "What does a thermometer measure?",
    "Thank you, that was very helpful!",
    "Write an SQL query for the second highest salary in the table employees(name, salary).",
    "Name three colours of the rainbow.",
    "A shirt costs 40 euros. Its price falls by 25 % and then rises by 10 %. What does it cost now?",
    "Prove that the sum of two odd integers is even.",
    "Why is the sky blue? Answer in one sentence.",
    "Explain the difference between a process and a thread, and when you would use which.",
)
