"""The gate before freezing and training: people first have to agree on what the labels mean."""

from __future__ import annotations

import shlex

from collector.errors import GateNotMet
from collector.workspace import Workspace
from labeling import votes
from labeling.agreement import Answers, Scale, alpha
from labeling.columns import SEVERAL
from labeling.config import AgreementConfig
from labeling.review import spelled

ACCEPT = "--accept-ceiling"


def require_agreement(ws: Workspace, concept: str, *, accept: bool) -> tuple[str, ...]:
    """Raise unless alpha of the concept reaches `agreement.minimum`; with `accept`, say in a warning that it does not.

    Labels that nobody gave twice (imported ones) have no alpha: how far they can be trusted is not known.

    Raises:
        GateNotMet: alpha is below the minimum, or undefined, and not `accept`.
    """
    config = ws.section(AgreementConfig)
    found = votes.read(ws, ws.concept(concept))
    given = [(row.task, row.annotator, row.label) for row in found.rows if row.sentinel is None]
    answers = Answers.tabulate(given, ws.concept(concept).labels)
    scale = Scale.masi([frozenset(name.split(SEVERAL)) for name in answers.labels]) if found.several else Scale()
    reached = alpha(answers.counts(), scale, draws=config.draws, seed=ws.seed)
    if reached.value >= config.minimum:
        return ()
    name = shlex.quote(concept)
    if not reached.tasks:
        said = f"no image of `{concept}` was labeled by two people, so nobody knows how far its labels can be trusted"
        hint = f"have some labeled twice (`collect label push {name} --overlap 2`), or add {ACCEPT}"
    else:
        what = spelled(reached) if reached.value == reached.value else f"undefined ({reached.reason})"
        said = f"people do not agree enough on `{concept}`: alpha is {what}, and {config.minimum:g} is asked for"
        hint = f"`collect agreement {name}` says what to work on; {ACCEPT} goes on with labels as unsure as that"
    if not accept:
        raise GateNotMet(said, hint=hint)
    return (f"{said}: no score means more than the human ceiling beside it",)
