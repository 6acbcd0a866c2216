"""Whatever drift and orphans can say has words of the portal's: what is not known would be shown as nothing."""

from typing import get_args

from nano.domain.inspection import OrphanKind, Repair, Where
from nano.ui.drift_words import KINDS, PLANS, WHERE


def test_every_place_kind_and_plan_has_words() -> None:
    assert set(WHERE) == set(get_args(Where))
    assert set(KINDS) == set(get_args(OrphanKind))
    assert set(PLANS) == set(get_args(Repair))
