"""Measures answers, retrieval and exams with intervals, compares runs in pairs, fits the confidence: a module each."""
