"""History of a resource, straight from its journal in Core."""

from typing import Any

from nano.domain.errors import NanoError
from nano.ui.portal import Portal, explain
from nano.ui.visit import Visit

PAGE = 60


async def read_history(portal: Portal, visit: Visit, path: str, before: str = "") -> dict[str, Any]:
    """``facts`` newest first, ``older`` = cursor of the next page, ``history_problem`` when Core could not tell."""
    params: dict[str, str | int] = {"limit": PAGE}
    if before.isdigit():
        params["cursor"] = before
    try:
        page = await portal.core.get(f"{path}/history", visit.caller, params)
    except NanoError as error:
        return {"facts": [], "older": None, "history_problem": explain(error, visit.words), "before": before}
    return {"facts": page["items"], "older": page.get("next"), "history_problem": None, "before": before}
