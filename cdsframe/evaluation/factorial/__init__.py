"""`evaluation=factorial`: what each setting adds, and whether the gains add up, from finished runs of all combinations.

`design` finds factors and combinations, `effects` estimates, `costs` and `summary` report. Generates no answers.
"""
