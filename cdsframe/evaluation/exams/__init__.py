"""What the exams (`mcq`, `lm_eval`, `paper`) share: reading questions, log-likelihoods of options, scoring, tasks."""
