"""Word lists for `cdsframe.citations.clauses`: operators (negations, bounds, directions), light verbs, synonyms.

Does not read sentences.
"""

from __future__ import annotations

import re

listed = re.compile(r"\S+").findall

NEGATION, BOUNDS = "neg", ("ge", "gt", "le", "lt")
_NEGATORS = frozenset(
    listed(
        "not never no none nobody nothing nowhere neither nor without avoid avoids avoided avoiding contraindicated "
        "contraindicates contraindication forbidden forbid forbids prohibited prohibit prohibits disallowed banned "
        "withhold withheld withholding withholds omit omits omitted omitting cannot noone dont doesnt isnt arent wasnt "
        "werent shouldnt mustnt cant wont neednt hasnt havent didnt couldnt wouldnt refrain refrains"
    )
)
_CRITICAL = {
    "stop": "stop stops stopped stopping discontinue discontinues discontinued discontinuing cease ceases ceased halt "
    "halts halted suspend suspends suspended hold holding",
    "except": "except excepting excluding exclude excludes excluded exclusion unless exempt save barring bar bars",
    "only": "only solely exclusively",
    "hardly": "hardly scarcely barely rarely seldom infrequently unlikely few",
    "fail": "fail fails failed failing unable impossible lack lacks lacked lacking absent absence freeof devoid",
    "deny": "deny denies denied denying refuse refuses refused refusing decline declines declined reject rejects "
    "rejected",
    "instead": "insteadof against unsuitable unsafe inappropriate inadvisable unnecessary useless",
    "off": "off",
    "cancel": "cancel cancels cancelled postpone postponed",
}
"""Words that reverse the meaning of a clause; a statement that omits one contradicts the clause."""
_SHARES = {
    "half": "half",
    "third": "third thirds",
    "quarter": "quarter quarters",
    "double": "double doubles doubled doubling twofold",
    "triple": "triple triples tripled tripling threefold",
}
"""Words that multiply an amount."""
_DIRECTIONS = {
    "before": "before prior preceding ahead beforehand",
    "after": "after following afterwards post",
    "until": "until till",
    "since": "since",
    "during": "during",
    "left": "left",
    "right": "right",
    "up": "increase increases increased increasing raise raises raised raising rise rises risen climb climbs climbed",
    "down": "decrease decreases decreased decreasing reduce reduces reduced reducing lower lowers lowered fall falls "
    "fallen drop drops dropped halve halved",
    "start": "start starts started starting begin begins began begun beginning commence commenced commences resume "
    "resumed restart restarted",
    "oral": "oral orally mouth po",
    "intravenous": "intravenous intravenously iv",
    "ge": "minimum",
    "le": "maximum within inside",
    "gt": "above over beyond past exceed exceeds exceeded exceeding",
    "lt": "below under",
}
"""Words whose opposite can occur in the same sentence: the parts that they modify are compared, too."""
OPERATORS = {
    **dict.fromkeys(_NEGATORS, NEGATION),
    **{word: name for name, words in (_CRITICAL | _SHARES | _DIRECTIONS).items() for word in listed(words)},
    **dict(zip("≥>≤<", BOUNDS, strict=True)),
}
RELATIONS = frozenset({*BOUNDS, "before", "after", "until", "since", "during"})
"""Operators that a statement must keep if it repeats the parts on both sides."""
TURNING = frozenset({NEGATION, *_CRITICAL})
"""Operators that reverse the meaning of their clause."""
DECISIVE = TURNING | frozenset(_SHARES)
"""Operators that a statement must keep if it repeats words of their clause."""

LIGHT = frozenset(
    listed(
        "give gives given giving use uses used using take takes taken taking administer administers administered "
        "receive receives received get gets got getting go goes let make makes made need needs needed"
    )
)
"""Verbs that mean little without their object; a statement may exchange them."""
VERB = re.compile(rf"\b(?:is|are|was|were|be|do|does|did|must|should|may|can|will|has|have|{'|'.join(LIGHT)})\b", re.I)
_SAME = {
    "phone": "ring rings call calls called phone phones telephone telephones telephoned bleep",
    "percent": "% percent percentage",
    "repeat": "repeat repeats repeated repeating",
}
SPELLED = {word: name for name, words in _SAME.items() for word in listed(words)}


def stem(word: str) -> str:
    """Removes a word's endings of number and tense, except from short words."""
    word = word.strip("-+")
    for ending, instead in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 4 and not word.endswith(("ss", "us", "is")):
            word = word[: -len(ending)] + instead
            break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "ls":
        word = word[:-1]
    return word
