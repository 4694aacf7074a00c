"""Measures answers, retrieval and exams, with intervals; compares runs in pairs; fits the confidence. One module a task."""
