"""Evaluates answers, retrieval and exams, compares runs in pairs, fits the confidence; one module each."""
